// The camera, live: one JPEG at a time over a WebSocket, the next only when the answer to the last has come.

import { apiKey, socketAddress } from "./api.js";
import { element, facts, make } from "./dom.js";
import { boxAround } from "./heatmap.js";
import { duration, percent, probability } from "./numbers.js";
import { announce } from "./task.js";
import { scale } from "./verdict.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").WebcamAnswer} WebcamAnswer */

const JPEG_QUALITY = 0.85;
const WIDTH = 640;
const RATE_OVER_MS = 3000;
const SILENCE_MS = 10000;
const ANNOUNCED_EVERY_MS = 3000;

/** @type {Record<string, string>} */
const REFUSALS = {
  NotAllowedError: "The camera was not allowed. Allow it for this page in the browser, then start again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera can't be read; another program may be using it.",
  OverconstrainedError: "The camera can't give such pictures.",
};

export class Webcam {
  /** @type {MediaStream | null} */
  stream = null;
  /** @type {WebSocket | null} */
  socket = null;
  /** @type {number[]} times of the last answers */
  answered = [];
  answers = 0;
  sentAt = 0;
  lastCall = "";
  lastAnnounced = 0;
  starting = false;
  timer = 0;

  /** @param {() => Choice} chosen */
  constructor(chosen) {
    this.chosen = chosen;
    this.video = element("camera", HTMLVideoElement);
    this.stage = element("camera-stage", HTMLElement);
    this.output = element("camera-output", HTMLElement);
    this.problem = element("camera-problem", HTMLElement);
    this.toggle = element("camera-toggle", HTMLButtonElement);
    this.canvas = document.createElement("canvas");
    this.toggle.addEventListener("click", () => (this.running ? this.stop() : void this.start()));
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.running) {
        this.stop("The camera was stopped because the page was hidden.");
      }
    });
  }

  get running() {
    return this.stream !== null || this.starting;
  }

  async start() {
    this.problem.textContent = "";
    this.starting = true;
    this.toggle.textContent = "Stop the camera";
    if (!navigator.mediaDevices) {
      this.stop("Browsers give the camera to pages on https or on this machine (localhost) alone.");
      return;
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: WIDTH }, facingMode: "user" },
        audio: false,
      });
      if (!this.starting) {
        stream.getTracks().forEach((track) => track.stop());
        return;
      }
      this.stream = stream;
      this.stage.hidden = false; // some browsers play no video that is hidden
      stream.getTracks().forEach((track) =>
        track.addEventListener("ended", () => this.stop("The camera was taken away.")),
      );
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      const name = error instanceof Error ? error.name : "";
      this.stop(REFUSALS[name] ?? `The camera can't be used: ${String(error)}`);
      return;
    }
    this.starting = false;
    this.connect();
  }

  connect() {
    const { variants, faces } = this.chosen();
    /** @type {Record<string, string>} */
    const parameters = { variant: variants[0], faces };
    if (apiKey()) {
      parameters.key = apiKey();
    }
    const socket = new WebSocket(socketAddress("api/video/webcam", parameters));
    this.socket = socket;
    this.answered = [];
    this.answers = 0;
    this.lastCall = "";
    socket.addEventListener("open", () => {
      announce("The camera is on.");
      this.send();
    });
    socket.addEventListener("message", (event) => this.receive(String(event.data)));
    socket.addEventListener("close", (event) => {
      if (this.socket === socket) {
        const why = event.reason || "Check that it is running, and the API key where it wants one.";
        this.stop(this.problem.textContent || `The service closed the connection. ${why}`);
      }
    });
  }

  /** Go on with what is chosen now. */
  reconnect() {
    const { socket } = this;
    if (socket) {
      this.socket = null; // so that its end is no news
      socket.close();
      this.connect();
    }
  }

  /** Send what the camera shows now. */
  send() {
    const { video, canvas, socket } = this;
    if (!socket || socket.readyState !== WebSocket.OPEN) {
      return;
    }
    if (!video.videoWidth) {
      requestAnimationFrame(() => this.send());
      return;
    }
    canvas.width = Math.min(WIDTH, video.videoWidth);
    canvas.height = Math.round((canvas.width / video.videoWidth) * video.videoHeight);
    canvas.getContext("2d")?.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(
      (jpeg) => {
        if (jpeg && this.socket === socket && socket.readyState === WebSocket.OPEN) {
          this.sentAt = performance.now();
          this.watchSilence();
          socket.send(jpeg);
        }
      },
      "image/jpeg",
      JPEG_QUALITY,
    );
  }

  watchSilence() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.problem.textContent = `The service has not answered for ${SILENCE_MS / 1000} seconds; still waiting.`;
    }, SILENCE_MS);
  }

  /** @param {string} text */
  receive(text) {
    clearTimeout(this.timer);
    const now = performance.now();
    /** @type {WebcamAnswer | {error: string}} */
    const answer = JSON.parse(text);
    if ("error" in answer) {
      this.problem.textContent = answer.error;
      this.stage.querySelector(".box")?.remove();
      // A service that refuses is not asked as fast as it can answer.
      setTimeout(() => this.send(), 500);
      return;
    }
    this.problem.textContent = "";
    this.answers += 1;
    this.answered = [...this.answered.filter((time) => now - time < RATE_OVER_MS), now];
    this.show(answer, now);
    this.send();
  }

  /** @returns {number} frames a second over the last answers */
  get rate() {
    const [first, last] = [this.answered[0], this.answered[this.answered.length - 1]];
    return last > first ? (1000 * (this.answered.length - 1)) / (last - first) : 0;
  }

  /**
   * @param {WebcamAnswer} answer
   * @param {number} now
   */
  show(answer, now) {
    const { prediction, confidence, fake_probability: fake, threshold } = answer;
    this.stage.querySelector(".box")?.remove();
    if (answer.face_box) {
      this.stage.append(boxAround(answer.face_box, this.canvas.width, this.canvas.height));
    }
    this.output.replaceChildren(
      make(
        "p",
        { class: "call" },
        make("strong", { class: prediction.toLowerCase() }, prediction),
        ` confidence ${percent(confidence)}`,
      ),
      scale(fake, threshold),
      facts([
        ["P(fake)", probability(fake)],
        ["Threshold", probability(threshold)],
        ["Frames/s", this.rate.toFixed(1)],
        ["Round trip", duration((now - this.sentAt) / 1000)],
        ["Frames judged", String(this.answers)],
      ]),
    );
    if (prediction !== this.lastCall && now - this.lastAnnounced > ANNOUNCED_EVERY_MS) {
      [this.lastCall, this.lastAnnounced] = [prediction, now];
      announce(`Now called ${prediction}, confidence ${percent(confidence)}.`);
    }
  }

  /** @param {string} [why] where nobody asked for it */
  stop(why = "") {
    clearTimeout(this.timer);
    const { socket, stream } = this;
    this.socket = null;
    this.stream = null;
    this.starting = false;
    socket?.close();
    stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.stage.hidden = true;
    this.stage.querySelector(".box")?.remove();
    this.output.replaceChildren();
    this.toggle.textContent = "Start the camera";
    this.problem.textContent = why;
    if (!why) {
      announce("The camera is off.");
    }
  }
}
