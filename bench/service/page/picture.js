// One picture: ask for it, show the answers.

import { patiently, upload } from "./api.js";
import { comparison } from "./compare.js";
import { make } from "./dom.js";
import { addressOf } from "./files.js";
import { heatControls, pictures } from "./heatmap.js";
import { votes } from "./members.js";
import { pictureVerdict } from "./verdict.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").PictureAnswer} PictureAnswer */
/** @typedef {import("./task.js").Task} Task */

/**
 * @param {File} file
 * @param {Choice} choice
 * @param {Task} task
 * @returns {Promise<PictureAnswer[]>} of each variant
 */
async function asked(file, choice, task) {
  const answers = [];
  for (const variant of choice.variants) {
    const form = new FormData();
    form.append("file", file, file.name);
    form.append("generate_gradcam", String(choice.heatmap));
    form.append("faces", choice.faces);
    form.append("variant", variant);
    const what = choice.variants.length > 1 ? `${file.name} for ${variant}` : file.name;
    const attempt = () => upload("api/detect/image", form, task.uploading(what), task.signal);
    answers.push(await patiently(attempt, task.waiting, task.signal));
  }
  return answers;
}

/**
 * @param {File} file
 * @param {Choice} choice
 * @param {Info} info
 * @param {Task} task
 * @returns {Promise<{summary: string, nodes: HTMLElement[]}>}
 */
export async function analysePicture(file, choice, info, task) {
  const answers = await asked(file, choice, task);
  const [first] = answers;
  const box = make("div", { class: "answers", "data-count": answers.length });
  answers.forEach((answer, index) => {
    const source = index ? null : addressOf(file);
    box.append(make("div", {}, pictureVerdict(info, answer), pictures(source, answer), votes(info, answer.variant, answer)));
  });
  const mapped = answers.filter((answer) => answer.heatmap);
  /** @type {HTMLElement[]} */
  const nodes = [box];
  if (mapped.length) {
    nodes.push(heatControls(box, new Set(mapped.map((answer) => answer.prediction))));
  }
  if (answers.length > 1) {
    const compared = comparison(answers);
    return { summary: compared, nodes: [make("p", { class: "answer" }, compared), ...nodes] };
  }
  return { summary: `${first.filename} is called ${first.prediction}.`, nodes };
}
