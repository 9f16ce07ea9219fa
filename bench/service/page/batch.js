// Several pictures: sent a few at a time, so that there is progress, and counted together.

import { patiently, ServiceError, upload } from "./api.js";
import { agreement } from "./compare.js";
import { button, facts, make } from "./dom.js";
import { addressOf } from "./files.js";
import { counted, mean, percent, probability } from "./numbers.js";
import { scale } from "./verdict.js";

/** @typedef {import("./types.js").BatchAnswer} BatchAnswer */
/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").PictureAnswer} PictureAnswer */
/** @typedef {import("./types.js").Refusal} Refusal */
/** @typedef {import("./task.js").Task} Task */
/** @typedef {PictureAnswer | Refusal} Outcome */

const MOST_AT_ONCE = 8;

/**
 * @param {File[]} files
 * @param {Info} info
 * @returns {File[][]} none with more files or bytes than one upload may have
 */
function portions(files, info) {
  const most = Math.min(MOST_AT_ONCE, info.limits.batch_images);
  const room = info.limits.upload_mib * 2 ** 20;
  /** @type {File[][]} */
  const parts = [];
  let bytes = 0;
  for (const file of files) {
    const last = parts.at(-1);
    if (last && last.length < most && bytes + file.size <= room) {
      last.push(file);
      bytes += file.size;
    } else {
      parts.push([file]);
      bytes = file.size;
    }
  }
  return parts;
}

/**
 * @param {Outcome} outcome
 * @returns {outcome is Refusal}
 */
const refused = (outcome) => "error" in outcome;

/**
 * The outcomes of one variant, in the order of `files`. What fails is an outcome of its files, so that the rest counts.
 * @param {File[]} files
 * @param {string} variant
 * @param {Choice} choice
 * @param {Info} info
 * @param {Task} task
 * @param {(done: number) => void} onDone
 * @returns {Promise<Outcome[]>}
 */
async function outcomesOf(files, variant, choice, info, task, onDone) {
  /** @type {Outcome[]} */
  const outcomes = [];
  for (const part of portions(files, info)) {
    const form = new FormData();
    part.forEach((file) => form.append("files", file, file.name));
    form.append("faces", choice.faces);
    form.append("variant", variant);
    const attempt = () => upload("api/detect/batch", form, () => {}, task.signal);
    try {
      const answer = /** @type {BatchAnswer} */ (await patiently(attempt, task.waiting, task.signal));
      outcomes.push(...answer.results);
    } catch (error) {
      // What fails for all pictures alike is no outcome of the first few.
      if (!(error instanceof ServiceError) || error.status === 401 || (error.status === 0 && !outcomes.length)) {
        throw error;
      }
      const sentence = error.message;
      outcomes.push(...part.map((file) => ({ filename: file.name, error: sentence })));
    }
    onDone(outcomes.length);
  }
  return outcomes;
}

/**
 * @param {File[]} files
 * @param {Choice} choice
 * @param {Info} info
 * @param {Task} task
 * @param {(file: File, row: HTMLElement) => void} onDetails
 * @returns {Promise<{summary: string, nodes: HTMLElement[]}>}
 */
export async function analyseBatch(files, choice, info, task, onDetails) {
  const total = files.length * choice.variants.length;
  /** @type {Outcome[][]} */
  const columns = [];
  for (const variant of choice.variants) {
    const before = columns.length * files.length;
    const onDone = (/** @type {number} */ done) =>
      task.progress(`${before + done} of ${counted(total, "answer")}`, (before + done) / total);
    onDone(0);
    columns.push(await outcomesOf(files, variant, choice, info, task, onDone));
  }
  const nodes = columns.map((outcomes, index) => totals(choice.variants[index], outcomes));
  let summary = `${counted(files.length, "picture")}: ${calls(columns[0])}.`;
  if (columns.length > 1) {
    const pairs = files
      .map((_, row) => columns.map((outcomes) => outcomes[row]))
      .filter((pair) => !pair.some(refused));
    summary = agreement("pictures", /** @type {PictureAnswer[][]} */ (pairs));
    nodes.unshift(make("p", { class: "answer" }, summary));
  }
  nodes.push(table(files, choice.variants, columns, onDetails));
  return { summary, nodes };
}

/** @param {Outcome[]} outcomes */
function counts(outcomes) {
  const answers = /** @type {PictureAnswer[]} */ (outcomes.filter((outcome) => !refused(outcome)));
  const fakes = answers.filter((answer) => answer.prediction === "FAKE").length;
  return { answers, fakes, reals: answers.length - fakes, errors: outcomes.length - answers.length };
}

/** @param {Outcome[]} outcomes */
function calls(outcomes) {
  const { fakes, reals, errors } = counts(outcomes);
  return `${fakes} called FAKE, ${reals} REAL, ${errors} not judged`;
}

/**
 * @param {string} variant
 * @param {Outcome[]} outcomes
 */
function totals(variant, outcomes) {
  const { answers, fakes, reals, errors } = counts(outcomes);
  const confidence = answers.length ? percent(mean(answers.map((answer) => answer.confidence))) : "–";
  return make(
    "section",
    { class: "totals", "aria-label": `Totals of ${variant}` },
    make("h3", {}, variant),
    facts([
      ["Pictures", String(outcomes.length)],
      ["Called FAKE", String(fakes)],
      ["Called REAL", String(reals)],
      ["Not judged", String(errors)],
      ["Mean confidence", confidence],
    ]),
  );
}

/**
 * @param {File[]} files
 * @param {string[]} variants
 * @param {Outcome[][]} columns
 * @param {(file: File, row: HTMLElement) => void} onDetails
 */
function table(files, variants, columns, onDetails) {
  const rows = files.map((file, row) => {
    const line = make("tr", {});
    const image = make("img", { src: addressOf(file), alt: "", class: "thumb", loading: "lazy" });
    image.addEventListener("error", () => image.remove());
    const cells = columns.map((outcomes) => cell(outcomes[row]));
    const more = button("Details", () => onDetails(file, line), { "aria-label": `Details of ${file.name}` });
    const calledDifferently = new Set(columns.map((outcomes) => callOf(outcomes[row]))).size > 1;
    line.classList.toggle("differs", calledDifferently);
    const judged = columns.some((outcomes) => !refused(outcomes[row]));
    const name = make("th", { scope: "row" }, image, make("span", {}, file.name));
    line.append(name, ...cells, make("td", {}, judged && more));
    return line;
  });
  const differing = variants.length > 1 ? " Rows with a bar at their left are called differently." : "";
  const titles = variants.map((variant) => make("th", { scope: "col" }, variant));
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Each picture" },
    make(
      "table",
      { class: "each" },
      make("caption", {}, `Each picture.${differing}`),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Picture"), ...titles, make("td", {}))),
      make("tbody", {}, ...rows),
    ),
  );
}

/** @param {Outcome} outcome */
const callOf = (outcome) => (refused(outcome) ? "" : outcome.prediction);

/** @param {Outcome} outcome */
function cell(outcome) {
  if (refused(outcome)) {
    return make("td", { class: "refused" }, outcome.error);
  }
  const { prediction, fake_probability: fake, threshold } = outcome;
  const call = make("strong", { class: prediction.toLowerCase() }, prediction);
  return make("td", {}, call, ` ${probability(fake)}`, scale(fake, threshold));
}
