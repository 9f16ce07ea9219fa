// How the members of an ensemble voted, with their weights.

import { make } from "./dom.js";
import { probability } from "./numbers.js";
import { scale } from "./verdict.js";

/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").PictureAnswer} PictureAnswer */

/**
 * @param {Info} info
 * @param {PictureAnswer} answer
 * @returns {HTMLElement | null} null where the service is no ensemble
 */
export function votes(info, answer) {
  if (!info.members.length) {
    return null;
  }
  const rows = info.members.map(({ name, weight, variant }) => {
    const vote = answer.model_predictions[name];
    const shown = vote
      ? [
          make("td", { class: "right" }, probability(vote.fake_prob)),
          make("td", { class: "wide" }, scale(vote.fake_prob, answer.threshold)),
          make("td", {}, make("strong", { class: vote.prediction.toLowerCase() }, vote.prediction)),
        ]
      : [make("td", { colspan: 3, class: "quiet" }, "gave no answer")];
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, name, variant && make("span", { class: "quiet" }, ` ${variant}`)),
      make("td", { class: "right" }, weight === null ? "–" : weight.toFixed(2)),
      ...shown,
    );
  });
  const titles = [
    make("th", { scope: "col" }, "Member"),
    make("th", { scope: "col", class: "right" }, "Weight"),
    make("th", { scope: "col", class: "right" }, "P(fake)"),
    make("td", { class: "wide" }),
    make("th", { scope: "col" }, "Vote"),
  ];
  const { agree, of } = answer.consensus;
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Votes of the members" },
    make(
      "table",
      {},
      make("caption", {}, `${agree} of ${of} members say ${answer.prediction}, as the ensemble does.`),
      make("thead", {}, make("tr", {}, ...titles)),
      make("tbody", {}, ...rows),
    ),
  );
}
