// The upload beside what was judged, with the heatmap laid over that. One slider serves all heatmaps of a result.

import { draw, make } from "./dom.js";

/** @typedef {import("./types.js").PictureAnswer} PictureAnswer */
/** @typedef {import("./types.js").Call} Call */
/** @typedef {import("./types.js").Box} Box */

const USUAL_PERCENT = 70;

/**
 * @param {string} kind
 * @param {string} base64
 * @returns {string}
 */
const address = (kind, base64) => `data:image/${kind};base64,${base64}`;

/**
 * A frame around the face, in the picture's pixels.
 * @param {Box} box
 * @param {number} width of the picture
 * @param {number} height
 */
export function boxAround([left, top, right, bottom], width, height) {
  return draw(
    "svg",
    { class: "box", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    draw("rect", { x: left, y: top, width: right - left, height: bottom - top, "vector-effect": "non-scaling-stroke" }),
  );
}

/**
 * @param {string} source
 * @param {PictureAnswer} answer
 */
function upload(source, answer) {
  const image = make("img", { src: source, alt: `The upload ${answer.filename}` });
  const stack = make("div", { class: "stack" }, image);
  const box = answer.judged === "face" ? answer.face_box : null;
  image.addEventListener("load", () => {
    if (box) {
      stack.append(boxAround(box, image.naturalWidth, image.naturalHeight));
    }
  });
  image.addEventListener("error", () => {
    stack.replaceChildren(make("p", { class: "quiet" }, "This browser can't show it."));
  });
  const caption = box ? "The upload; the box is around the face that was judged." : "The upload.";
  return make("figure", {}, stack, make("figcaption", {}, caption));
}

/**
 * @param {string} crop address of what was judged
 * @param {string | null} heatmap address of the map
 * @param {string} label
 */
export function overlaid(crop, heatmap, label) {
  return make(
    "div",
    { class: "stack" },
    make("img", { src: crop, alt: label }),
    heatmap && make("img", { src: heatmap, alt: "", class: "heat" }),
  );
}

/**
 * @param {PictureAnswer} answer
 * @returns {HTMLElement[]}
 */
function judged(answer) {
  if (!answer.crop) {
    return [];
  }
  const { crop, heatmap, prediction } = answer;
  const side = prediction.toLowerCase();
  const maps = Object.entries(answer.members_heatmaps ?? {});
  const joined = maps.length > 1 ? " to all members together, each by its weight" : "";
  const caption = heatmap
    ? `What was judged; coloured is what speaks for ${prediction}${joined}.`
    : "What was judged. This variant makes no heatmap.";
  const label = `What was judged${heatmap ? `, with what speaks for ${side}` : ""}`;
  const main = make(
    "figure",
    {},
    overlaid(address("jpeg", crop), heatmap && address("png", heatmap), label),
    make("figcaption", {}, caption),
  );
  const ofMembers = maps.map(([name, map]) =>
    make(
      "figure",
      { class: "member" },
      overlaid(address("jpeg", crop), address("png", map), `What speaks for ${side} in the eyes of ${name}`),
      make("figcaption", {}, counting(name, answer.model_predictions[name])),
    ),
  );
  return [main, ...ofMembers];
}

/**
 * @param {string} name
 * @param {import("./types.js").Vote | undefined} vote
 * @returns {string} a member and how much it counts
 */
function counting(name, vote) {
  return typeof vote?.weight === "number" ? `${name}, weight ${vote.weight.toFixed(2)}` : name;
}

/**
 * @param {string | null} source address of the upload; null where it is shown beside another answer already
 * @param {PictureAnswer} answer
 * @returns {HTMLElement}
 */
export function pictures(source, answer) {
  return make("div", { class: "pictures" }, source && upload(source, answer), ...judged(answer));
}

/**
 * @param {HTMLElement} container whose heatmaps follow the slider
 * @param {Set<Call>} calls whose colours are explained
 * @returns {HTMLElement}
 */
export function heatControls(container, calls) {
  const slider = make("input", { type: "range", min: 0, max: 100, value: USUAL_PERCENT });
  const output = make("output", {});
  const follow = () => {
    container.style.setProperty("--heat", String(Number(slider.value) / 100));
    output.textContent = `${slider.value} %`;
    slider.setAttribute("aria-valuetext", `${slider.value} percent`);
  };
  slider.addEventListener("input", follow);
  follow();
  const legends = Array.from(calls)
    .sort()
    .map((call) =>
      make(
        "span",
        { class: "legend" },
        `Speaks for ${call}: weak `,
        make("span", { class: `ramp ${call.toLowerCase()}`, role: "img", "aria-label": `colours for ${call}` }),
        " strong",
      ),
    );
  const label = make("label", { class: "opacity" }, "Heatmap's opacity ", slider, output);
  const line = "A line, dashed for REAL, goes around where the map is at least half as strong as its strongest spot.";
  return make(
    "div",
    { class: "heat-controls" },
    label,
    ...legends,
    make("p", { class: "quiet" }, line),
  );
}
