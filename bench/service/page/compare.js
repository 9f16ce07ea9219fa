// Two variants on the same upload, in words.

import { mean, probability } from "./numbers.js";

/** @typedef {import("./types.js").Judgement} Judgement */

/**
 * @param {Judgement[]} pair of two variants on one picture or video
 * @returns {string}
 */
export function comparison([first, second]) {
  const [p, q] = [first.fake_probability, second.fake_probability];
  const numbers = `${probability(p)} against ${probability(q)}, a difference of ${Math.abs(p - q).toFixed(3)}`;
  if (first.prediction === second.prediction) {
    return `${first.variant} and ${second.variant} both call it ${first.prediction}. P(fake) is ${numbers}.`;
  }
  return (
    `They disagree: ${first.variant} calls it ${first.prediction}, ${second.variant} ${second.prediction}. ` +
    `P(fake) is ${numbers}.`
  );
}

/**
 * @param {string} noun "pictures" or "frames"
 * @param {Pick<Judgement, "prediction" | "fake_probability">[][]} pairs
 * @returns {string} over many of them
 */
export function agreement(noun, pairs) {
  if (!pairs.length) {
    return `There are no ${noun} that both variants answered.`;
  }
  const agreed = pairs.filter(([first, second]) => first.prediction === second.prediction).length;
  const difference = mean(pairs.map(([first, second]) => Math.abs(first.fake_probability - second.fake_probability)));
  return `They agree on ${agreed} of ${pairs.length} ${noun}; P(fake) differs by ${difference.toFixed(3)} on average.`;
}
