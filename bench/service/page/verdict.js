// What one answer says: the call, how sure, and a sentence on what that means.

import { draw, facts, make } from "./dom.js";
import { counted, duration, percent, probability } from "./numbers.js";

/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Judgement} Judgement */
/** @typedef {import("./types.js").PictureAnswer} PictureAnswer */
/** @typedef {import("./types.js").VideoAnswer} VideoAnswer */

/**
 * @param {Info} info
 * @param {string} name
 */
export function variantOf(info, name) {
  return info.variants.find((variant) => variant.name === name);
}

/**
 * P(fake) from 0 to 1 with the threshold as a line.
 * @param {number} fake
 * @param {number} threshold
 * @returns {SVGSVGElement}
 */
export function scale(fake, threshold) {
  const label = `P(fake) ${probability(fake)}, threshold ${probability(threshold)}`;
  const side = fake >= threshold ? "fake" : "real";
  const [x, cut] = [300 * fake, 300 * threshold];
  return draw(
    "svg",
    { class: "scale", viewBox: "0 0 300 26", preserveAspectRatio: "none", role: "img", "aria-label": label },
    draw("rect", { class: "rail", x: 0, y: 8, width: 300, height: 10, rx: 5 }),
    draw("rect", { class: `bar ${side}`, x: 0, y: 8, width: Math.max(x, 3), height: 10, rx: 5 }),
    draw("line", { class: "cut", x1: cut, x2: cut, y1: 2, y2: 24, "vector-effect": "non-scaling-stroke" }),
  );
}

/**
 * @param {Judgement} judgement
 * @returns {string} why it is called so
 */
export function reason({ prediction, fake_probability: fake, threshold, variant }) {
  const side = prediction === "FAKE" ? "is not below" : "is below";
  return (
    `${variant} gives P(fake) ${probability(fake)}, which ${side} its threshold ${probability(threshold)}, ` +
    `so it is called ${prediction}.`
  );
}

/**
 * @param {Info} info
 * @param {string} name
 * @returns {string} how far to trust its scores
 */
export function caution(info, name) {
  const auc = variantOf(info, name)?.auc;
  const measured = typeof auc === "number" ? ` On the experiment's test frames its AUC was ${auc.toFixed(4)}.` : "";
  return `Confidence is the network's score for what it called, not a proof.${measured}`;
}

/**
 * @param {Judgement["prediction"]} prediction
 * @param {number} confidence
 */
function call(prediction, confidence) {
  return make(
    "p",
    { class: "call" },
    make("strong", { class: prediction.toLowerCase() }, prediction),
    ` confidence ${percent(confidence)}`,
  );
}

/**
 * @param {Info} info
 * @param {Judgement} judgement
 * @param {string[]} further sentences on this answer alone
 */
function meaning(info, judgement, further) {
  return [
    make("p", {}, [reason(judgement), ...further, caution(info, judgement.variant)].join(" ")),
    make("p", { class: "quiet" }, `Shipped with: ${judgement.shipped_with}`),
  ];
}

/** @param {PictureAnswer} answer */
function judged(answer) {
  if (answer.judged !== "face") {
    return "The whole picture was judged, not a face.";
  }
  const several = answer.faces !== null && answer.faces > 1;
  return several ? `Of ${answer.faces} faces, the one in the box was judged.` : "The face in the box was judged.";
}

/**
 * @param {Info} info
 * @param {PictureAnswer} answer
 * @returns {HTMLElement}
 */
export function pictureVerdict(info, answer) {
  const face = answer.face_detection_confidence;
  /** @type {[string, string][]} */
  const numbers = [
    ["P(fake)", probability(answer.fake_probability)],
    ["Threshold", probability(answer.threshold)],
    ["Took", duration(answer.processing_time) + (answer.cached ? " (from the cache)" : "")],
  ];
  if (face !== null) {
    numbers.push(["Face found with", percent(face)]);
  }
  return make(
    "article",
    { class: `verdict ${answer.prediction.toLowerCase()}` },
    make("h3", {}, answer.variant),
    call(answer.prediction, answer.confidence),
    scale(answer.fake_probability, answer.threshold),
    ...meaning(info, answer, [judged(answer)]),
    facts(numbers),
    technical(answer, answer.device),
  );
}

/**
 * @param {Info} info
 * @param {VideoAnswer} answer
 * @returns {HTMLElement}
 */
export function videoVerdict(info, answer) {
  const { overall_result: overall, processing_info: work } = answer;
  const judgement = { ...answer, ...overall };
  const without = work.frames_without_face;
  const further = [
    "The video's P(fake) is made of its frames' as in the report.",
    `${percent(overall.fake_frame_ratio)} of them are called FAKE.`,
  ];
  if (without) {
    further.push(`In ${counted(without, "frame")} that were looked at no face was found.`);
  }
  return make(
    "article",
    { class: `verdict ${overall.prediction.toLowerCase()}` },
    make("h3", {}, answer.variant),
    call(overall.prediction, overall.confidence),
    scale(overall.fake_probability, answer.threshold),
    ...meaning(info, judgement, further),
    facts([
      ["P(fake)", probability(overall.fake_probability)],
      ["Threshold", probability(answer.threshold)],
      ["Frames judged", `${work.frames_processed} of ${work.total_frames}`],
      ["Took", `${duration(work.processing_time)} (${work.processing_fps.toFixed(1)} frames/s)`],
    ]),
    technical(judgement, variantOf(info, answer.variant)?.device ?? ""),
  );
}

/**
 * @param {Judgement} judgement
 * @param {string} device
 */
function technical({ artifact }, device) {
  return make(
    "details",
    {},
    make("summary", {}, "Which artifact answered"),
    make("p", {}, "Artifact ", make("code", {}, artifact.id), ` in ${artifact.runtime}${device && ` on ${device}`}.`),
    make("p", {}, "Digest ", make("code", {}, artifact.digest)),
  );
}
