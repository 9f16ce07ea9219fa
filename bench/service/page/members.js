// How the members of an ensemble voted, with their weights.

import { make } from "./dom.js";
import { probability } from "./numbers.js";
import { scale, variantOf } from "./verdict.js";

/** @typedef {import("./types.js").Call} Call */
/** @typedef {import("./types.js").Info} Info */
/** @typedef {import("./types.js").Vote} Vote */
/**
 * @typedef {object} Voted
 * @property {Call} prediction
 * @property {number} threshold
 * @property {Record<string, Vote>} model_predictions
 * @property {Record<string, string>} models_failed
 * @property {{agree: number, of: number}} consensus
 */

/** What is done with the members' answers, for people. */
const JOINED = {
  mean: "P(fake) is the mean of theirs, each by its weight.",
  logits: "P(fake) is that of the mean of their logit differences, each by its weight.",
  vote: "P(fake) is the share of their votes, each by its weight.",
  max: "P(fake) is the highest of theirs.",
};

/**
 * @param {string} name
 * @param {string} variant
 * @param {Vote | undefined} vote
 * @param {string | undefined} failure
 * @param {number} threshold
 */
function row(name, variant, vote, failure, threshold) {
  const shown = vote
    ? [
        make("td", { class: "right" }, vote.weight === null ? "–" : vote.weight.toFixed(2)),
        make("td", { class: "right" }, probability(vote.fake_prob)),
        make("td", { class: "wide" }, scale(vote.fake_prob, threshold)),
        make("td", {}, make("strong", { class: vote.prediction.toLowerCase() }, vote.prediction)),
      ]
    : [make("td", { colspan: 4, class: "quiet" }, `gave no answer${failure ? `: ${failure}` : ""}`)];
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, variant && make("span", { class: "quiet" }, ` ${variant}`)),
    ...shown,
  );
}

/**
 * @param {Info} info
 * @param {string} name of the variant that answered
 * @param {Voted} voted
 * @returns {HTMLElement | null} null where it is no ensemble
 */
export function votes(info, name, voted) {
  const ensemble = variantOf(info, name)?.ensemble;
  if (!ensemble) {
    return null;
  }
  const { combine, members, failed } = ensemble;
  const at = combine === "vote" ? 0.5 : voted.threshold;
  const rows = members.map((member) =>
    row(member.name, member.variant, voted.model_predictions[member.name], voted.models_failed[member.name], at),
  );
  rows.push(...Object.entries(failed).map(([member, why]) => row(member, "", undefined, why, at)));
  const titles = [
    make("th", { scope: "col" }, "Member"),
    make("th", { scope: "col", class: "right" }, "Weight"),
    make("th", { scope: "col", class: "right" }, "P(fake)"),
    make("td", { class: "wide" }),
    make("th", { scope: "col" }, "Vote"),
  ];
  const { agree, of } = voted.consensus;
  const caption = `${agree} of ${of} members say ${voted.prediction}, as the ensemble does. ${JOINED[combine]}`;
  return make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Votes of the members" },
    make(
      "table",
      {},
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...titles)),
      make("tbody", {}, ...rows),
    ),
  );
}
