// A video: sent as a job, watched until it is done, shown along its time.

import { ask, patiently, pause, picture, ServiceError, upload } from "./api.js";
import { agreement, comparison } from "./compare.js";
import { make } from "./dom.js";
import { heatControls, overlaid } from "./heatmap.js";
import { counted, probability } from "./numbers.js";
import { Timeline } from "./timeline.js";
import { votes } from "./members.js";
import { variantOf, videoVerdict } from "./verdict.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").FrameAnswer} FrameAnswer */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Job} Job */
/** @typedef {import("./types.js").VideoAnswer} VideoAnswer */
/** @typedef {import("./task.js").Task} Task */
/** @typedef {{job: string, answer: VideoAnswer, hasMap: boolean}} Finished */

const [FIRST_WAIT_S, LONGEST_WAIT_S] = [0.3, 3];

/**
 * @param {File} file
 * @param {string} variant
 * @param {Choice} choice
 * @param {Task} task
 * @returns {Promise<{job: string, answer: VideoAnswer}>}
 */
async function finished(file, variant, choice, task) {
  const form = new FormData();
  form.append("file", file, file.name);
  form.append("max_frames", String(choice.frames));
  form.append("faces", choice.faces);
  form.append("variant", variant);
  const attempt = () => upload("api/video/jobs", form, task.uploading(file.name), task.signal);
  const { job } = await patiently(attempt, task.waiting, task.signal);
  try {
    return { job, answer: await watched(job, variant, task) };
  } catch (error) {
    if (task.signal.aborted) {
      // The service may have forgotten the job; then there is nothing left to cancel.
      await ask(`api/video/jobs/${job}`, { method: "DELETE" }).catch(() => {});
    }
    throw error;
  }
}

/**
 * @param {string} job
 * @param {string} variant
 * @param {Task} task
 * @returns {Promise<VideoAnswer>}
 */
async function watched(job, variant, task) {
  const { signal } = task;
  for (let wait = FIRST_WAIT_S; ; wait = Math.min(LONGEST_WAIT_S, 1.2 * wait)) {
    const state = /** @type {Job} */ (
      await patiently(() => ask(`api/video/jobs/${job}`, { signal }), () => {}, signal)
    );
    if (state.state === "done" && state.result) {
      return state.result;
    }
    if (state.state === "failed" || state.state === "cancelled") {
      throw new ServiceError(state.detail ?? `The job was ${state.state} by the service.`, 200);
    }
    if (state.state === "queued") {
      task.progress("Waiting for other videos …", null);
    } else {
      const total = state.total ? ` of ${counted(state.total, "frame")}` : "";
      task.progress(`${variant}: ${state.done}${total}`, state.total ? state.done / state.total : null);
    }
    await pause(wait, signal);
  }
}

/**
 * @param {File} file
 * @param {Choice} choice
 * @param {Info} info
 * @param {Task} task
 * @returns {Promise<{summary: string, nodes: HTMLElement[]}>}
 */
export async function analyseVideo(file, choice, info, task) {
  /** @type {Finished[]} */
  const jobs = [];
  for (const variant of choice.variants) {
    const hasMap = variantOf(info, variant)?.heatmap ?? false;
    jobs.push({ ...(await finished(file, variant, choice, task)), hasMap });
  }
  const answers = jobs.map((job) => job.answer);
  const verdicts = answers.map((answer) =>
    make("div", {}, videoVerdict(info, answer), votes(info, answer.variant, votedOf(answer))),
  );
  /** @type {HTMLElement[]} */
  const nodes = [make("div", { class: "answers", "data-count": answers.length }, ...verdicts)];
  const [{ overall_result: overall }] = answers;
  let summary = `${file.name} is called ${overall.prediction}.`;
  if (answers.length > 1) {
    const compared = comparison(answers.map((answer) => ({ ...answer, ...answer.overall_result })));
    summary = `${compared} ${agreement("frames", pairs(answers))}`;
    nodes.unshift(make("p", { class: "answer" }, summary));
  }
  if (answers.every((answer) => answer.frame_results.length)) {
    nodes.push(...alongTime(jobs), tableOf(answers));
  }
  return { summary, nodes };
}

/**
 * @param {VideoAnswer[]} answers
 * @returns {FrameAnswer[][]} frames that all of them have
 */
function pairs(answers) {
  const [first, ...others] = answers.map((answer) => answer.frame_results);
  return first
    .map((frame) => [frame, ...others.map((frames) => frames.find((other) => other.frame === frame.frame))])
    .filter((pair) => !pair.includes(undefined))
    .map((pair) => /** @type {FrameAnswer[]} */ (pair));
}

/**
 * @param {Finished[]} jobs
 * @returns {HTMLElement[]} the timeline, and the frame that is chosen on it
 */
function alongTime(jobs) {
  const shown = make("div", { class: "pictures frame-shown" });
  const box = make("div", {}, shown);
  let controller = new AbortController();
  const frames = jobs.flatMap(({ answer }) => answer.frame_results);
  const unit = frames.every((frame) => frame.seconds !== null) ? "seconds" : "frames";
  const timeOf = (/** @type {FrameAnswer} */ frame) => (unit === "seconds" ? (frame.seconds ?? 0) : frame.frame);
  const choose = (/** @type {number} */ time) => {
    controller.abort();
    controller = new AbortController();
    shown.replaceChildren(...jobs.map((job) => shownFrame(job, nearest(job, time, timeOf), controller.signal)));
  };
  const lines = jobs.map(({ answer }) => ({
    name: answer.variant,
    threshold: answer.threshold,
    points: answer.frame_results.map((frame) => ({ ...frame, time: timeOf(frame) })),
  }));
  const timeline = new Timeline(lines, unit, choose);
  const mapped = jobs.filter((job) => job.hasMap).flatMap(({ answer }) => answer.frame_results);
  if (mapped.length) {
    box.append(heatControls(box, new Set(mapped.map((frame) => frame.prediction))));
  }
  const heading = make("h3", {}, "Along the video");
  timeline.choose(timeline.highest());
  return [heading, timeline.node, box];
}

/**
 * @param {Finished} finishedJob with one frame at least
 * @param {number} time
 * @param {(frame: FrameAnswer) => number} timeOf
 * @returns {FrameAnswer}
 */
function nearest({ answer }, time, timeOf) {
  const distance = (/** @type {FrameAnswer} */ frame) => Math.abs(timeOf(frame) - time);
  return answer.frame_results.reduce((best, other) => (distance(other) < distance(best) ? other : best));
}

/**
 * @param {Finished} finishedJob
 * @param {FrameAnswer} frame
 * @param {AbortSignal} signal aborted when another frame is chosen
 * @returns {HTMLElement}
 */
function shownFrame({ job, answer, hasMap }, frame, signal) {
  const at = frame.seconds === null ? "" : ` at ${frame.seconds.toFixed(2)} s`;
  const call = make("strong", { class: frame.prediction.toLowerCase() }, frame.prediction);
  const caption = make(
    "figcaption",
    {},
    `${answer.variant}, frame ${frame.frame}${at}: `,
    call,
    `, P(fake) ${probability(frame.fake_probability)}. `,
  );
  const figure = make("figure", {}, make("div", { class: "stack loading" }), caption);
  loadFrame(`api/video/jobs/${job}/frames/${frame.frame}`, hasMap, signal).then(({ crop, heatmap, problem }) => {
    if (signal.aborted) {
      return;
    }
    if (crop) {
      figure.firstElementChild?.replaceWith(overlaid(crop, heatmap, `Frame ${frame.frame}, as it was judged`));
    } else {
      figure.firstElementChild?.remove();
    }
    caption.append(problem);
  });
  return figure;
}

/**
 * @param {string} path
 * @param {boolean} hasMap
 * @param {AbortSignal} signal
 * @returns {Promise<{crop: string | null, heatmap: string | null, problem: string}>} addresses, and what is missing
 */
async function loadFrame(path, hasMap, signal) {
  const paths = hasMap ? [path, `${path}/heatmap`] : [path];
  const parts = await Promise.allSettled(paths.map((each) => picture(each, signal)));
  const [crop, heatmap = null] = parts.map((part) =>
    part.status === "fulfilled" ? URL.createObjectURL(part.value) : null,
  );
  signal.addEventListener("abort", () => [crop, heatmap].forEach((address) => address && URL.revokeObjectURL(address)));
  const refused = parts.find((part) => part.status === "rejected" && part.reason instanceof ServiceError);
  return { crop, heatmap, problem: refused?.status === "rejected" ? refused.reason.message : "" };
}

/** @param {VideoAnswer} answer */
function votedOf({ overall_result: overall, threshold }) {
  return { ...overall, threshold, models_failed: {} };
}

/** @param {VideoAnswer[]} answers */
function tableOf(answers) {
  const titles = ["Frame", "Second", "P(fake)", "Call"];
  const sections = answers.map((answer) =>
    make(
      "table",
      {},
      make("caption", {}, answer.variant),
      make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)))),
      make("tbody", {}, ...answer.frame_results.map(rowOf)),
    ),
  );
  return make(
    "details",
    {},
    make("summary", {}, "All frames as a table"),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "All frames" }, ...sections),
  );
}

/** @param {FrameAnswer} frame */
function rowOf(frame) {
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, String(frame.frame)),
    make("td", { class: "right" }, frame.seconds === null ? "–" : frame.seconds.toFixed(2)),
    make("td", { class: "right" }, probability(frame.fake_probability)),
    make("td", {}, make("strong", { class: frame.prediction.toLowerCase() }, frame.prediction)),
  );
}
