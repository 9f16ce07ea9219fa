// The page of `bench serve`: pictures, videos and the camera, sent to the service that serves this page.

import { apiKey, ask, checkKey, ServiceError } from "./api.js";
import { analyseBatch } from "./batch.js";
import { button, element, goTo, make } from "./dom.js";
import { release } from "./files.js";
import { Intake } from "./intake.js";
import { counted } from "./numbers.js";
import { analysePicture } from "./picture.js";
import { askForKey, chosen, setUpKey, setUpTheme, showVariants } from "./settings.js";
import { announce, clearError, showError, Task } from "./task.js";
import { analyseVideo } from "./video.js";
import { Webcam } from "./webcam.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {{summary: string, nodes: HTMLElement[]}} Outcome */
/** @typedef {(task: Task) => Promise<Outcome>} Work */

/** @type {Info | null} */
let info = null;
/** @type {Task | null} */
let running = null;
/** @type {File[]} whose pictures the result shows */
let resultFiles = [];

const start = element("start", HTMLButtonElement);
const result = element("result", HTMLElement);
const details = element("details", HTMLElement);
const intake = new Intake(onFiles);

/** @returns {Info} */
function service() {
  if (!info) {
    throw new ServiceError("The service has not answered yet.", 0);
  }
  return info;
}

/** @param {File[]} files */
function onFiles(files) {
  release([...files, ...resultFiles]);
  const isVideo = intake.kind === "video";
  element("frames-field", HTMLElement).hidden = !isVideo;
  element("heatmap-field", HTMLElement).hidden = files.length > 1 || isVideo;
  start.textContent = isVideo ? "Analyse the video" : `Analyse ${counted(files.length, "picture")}`;
  clearError();
}

/**
 * Run one analysis and show what came of it.
 * @param {HTMLElement} section
 * @param {string} title
 * @param {string} startText
 * @param {Work} work
 */
async function run(section, title, startText, work) {
  if (running) {
    return;
  }
  clearError();
  const task = new Task(startText);
  running = task;
  start.disabled = true;
  try {
    const { summary, nodes } = await work(task);
    task.end();
    const heading = make("h2", {}, title);
    section.replaceChildren(heading, ...nodes);
    section.hidden = false;
    announce(summary);
    goTo(heading);
  } catch (error) {
    task.end();
    fail(error, () => void run(section, title, startText, work));
  } finally {
    running = null;
    start.disabled = false;
  }
}

/**
 * @param {unknown} error
 * @param {() => void} again
 */
function fail(error, again) {
  if (error instanceof DOMException && error.name === "AbortError") {
    announce("Cancelled.");
    start.disabled = false;
    start.focus();
    return;
  }
  showError(error, again);
  if (error instanceof ServiceError && error.status === 401) {
    askForKey(true);
  }
}

function analyse() {
  const { files, kind } = intake;
  if (!files.length) {
    return;
  }
  if (service().keys_required && !apiKey()) {
    askForKey(true);
    return;
  }
  const choice = chosen(service());
  const keep = (/** @type {Outcome} */ outcome) => {
    resultFiles = files;
    release([...intake.files, ...files]);
    return outcome;
  };
  details.hidden = true;
  details.replaceChildren();
  if (kind === "video") {
    void run(result, files[0].name, `Uploading ${files[0].name}`, (task) =>
      analyseVideo(files[0], choice, service(), task).then(keep),
    );
  } else if (files.length === 1) {
    void run(result, files[0].name, `Uploading ${files[0].name}`, (task) =>
      analysePicture(files[0], choice, service(), task).then(keep),
    );
  } else {
    const onDetails = (/** @type {File} */ file, /** @type {HTMLElement} */ row) =>
      showDetails(file, { ...choice, heatmap: true }, row);
    void run(result, counted(files.length, "picture"), "Uploading the pictures", (task) =>
      analyseBatch(files, choice, service(), task, onDetails).then(keep),
    );
  }
}

/**
 * One picture of a batch by itself.
 * @param {File} file
 * @param {Choice} choice
 * @param {HTMLElement} row to go back to
 */
function showDetails(file, choice, row) {
  const back = button("Back to all pictures", () => {
    details.hidden = true;
    row.scrollIntoView({ block: "center" });
    row.querySelector("button")?.focus({ preventScroll: true });
  });
  void run(details, file.name, `Uploading ${file.name}`, async (task) => {
    const { summary, nodes } = await analysePicture(file, choice, service(), task);
    return { summary, nodes: [...nodes, back] };
  });
}

/** @param {import("./types.js").Variant} variant */
function described({ name, ensemble }) {
  if (!ensemble) {
    return "";
  }
  const { members } = ensemble;
  const names = members.map((each) => each.name).join(", ");
  return `${name} is an ensemble of ${counted(members.length, "member")}: ${names}.`;
}

async function connect() {
  try {
    info = /** @type {Info} */ (await ask("api/info"));
    if (info.keys_required && apiKey()) {
      await checkKey();
    }
  } catch (error) {
    fail(error, () => void connect());
    return;
  }
  clearError();
  const { experiment, limits, variants, version } = info;
  document.title = `Deepfake detector: ${experiment}`;
  element("title", HTMLElement).textContent = document.title;
  element("version", HTMLElement).textContent = `bench ${version}`;
  element("limits", HTMLElement).textContent =
    `Pictures of up to ${limits.upload_mib} MiB and ${counted(limits.megapixels, "megapixel")}; a video of up to ` +
    `${limits.video_mib} MiB and ${limits.video_seconds} s. Nothing is uploaded before you start.`;
  element("ensemble", HTMLElement).textContent = variants.map(described).join(" ").trim();
  intake.limits = limits;
  showVariants(info);
  if (info.keys_required) {
    askForKey(false);
  }
  element("work", HTMLElement).hidden = false;
}

setUpTheme();
setUpKey(() => void connect());
start.addEventListener("click", analyse);
const webcam = new Webcam(() => chosen(service()));
for (const id of ["variant", "faces"]) {
  element(id, HTMLSelectElement).addEventListener("change", () => webcam.reconnect());
}
void connect();
