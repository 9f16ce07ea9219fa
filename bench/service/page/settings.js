// What can be chosen: variants, faces, heatmap, frames of a video, the theme, the key.

import { apiKey, keepApiKey } from "./api.js";
import { element, make } from "./dom.js";

/** @typedef {import("./types.js").Choice} Choice */
/** @typedef {import("./types.js").Info} Info */

const THEMES = ["system", "dark", "light"];
const USUAL_FRAMES = 30;

export function setUpTheme() {
  const button = element("theme", HTMLButtonElement);
  let index = 0;
  button.addEventListener("click", () => {
    index = (index + 1) % THEMES.length;
    const theme = THEMES[index];
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme === "system" ? "as the system" : theme}`);
  });
}

/** @param {() => void} onKey told when there is another key */
export function setUpKey(onKey) {
  const form = element("key-form", HTMLFormElement);
  const field = element("key", HTMLInputElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepApiKey(field.value.trim());
    field.value = "";
    onKey();
  });
}

/** @param {boolean} refused whether the service has just refused the key of this tab, or that there is none */
export function askForKey(refused) {
  const state = element("key-state", HTMLElement);
  const has = apiKey() !== "";
  element("key-form", HTMLFormElement).hidden = false;
  if (refused) {
    state.textContent = has ? "The service refused this key. Enter another." : "This service wants an API key.";
    element("key", HTMLInputElement).focus();
  } else {
    state.textContent = has ? "A key is kept in this tab until it is closed." : "This service wants an API key.";
  }
}

/** @param {Info} info */
export function showVariants(info) {
  const variant = element("variant", HTMLSelectElement);
  const other = element("other", HTMLSelectElement);
  const chosenBefore = variant.value;
  variant.replaceChildren(...info.variants.map(({ name }) => make("option", { value: name }, name)));
  const stays = info.variants.some(({ name }) => name === chosenBefore);
  variant.value = stays ? chosenBefore : info.default_variant;
  element("variant-field", HTMLElement).hidden = info.variants.length < 2;
  element("other-field", HTMLElement).hidden = info.variants.length < 2;
  const update = () => {
    const others = info.variants.filter(({ name }) => name !== variant.value);
    const before = other.value;
    other.replaceChildren(
      make("option", { value: "" }, "none"),
      ...others.map(({ name }) => make("option", { value: name }, name)),
    );
    other.value = others.some(({ name }) => name === before) ? before : "";
    describe(info, variant.value);
  };
  variant.onchange = update;
  update();
  const frames = element("frames", HTMLInputElement);
  frames.max = String(info.limits.video_frames);
  frames.value = String(Math.min(USUAL_FRAMES, info.limits.video_frames));
  element("faces", HTMLSelectElement).value = info.faces;
}

/**
 * @param {Info} info
 * @param {string} name
 */
function describe(info, name) {
  const variant = info.variants.find((each) => each.name === name);
  if (!variant) {
    return;
  }
  const { runtime, device, size_mib: mib, threshold, verdict } = variant;
  element("variant-text", HTMLElement).replaceChildren(
    make("strong", {}, name),
    ` (${mib.toFixed(1)} MiB, ${runtime} on ${device}) calls FAKE what has P(fake) of at least `,
    `${threshold.toFixed(3)}. `,
    `Shipped with: ${verdict}`,
  );
}

/**
 * @param {Info} info
 * @returns {Choice}
 */
export function chosen(info) {
  const frames = element("frames", HTMLInputElement);
  const asked = Math.round(Number(frames.value)) || USUAL_FRAMES;
  const within = Math.min(info.limits.video_frames, Math.max(1, asked));
  frames.value = String(within);
  const other = element("other", HTMLSelectElement).value;
  return {
    variants: [element("variant", HTMLSelectElement).value, ...(other ? [other] : [])],
    faces: element("faces", HTMLSelectElement).value,
    heatmap: element("heatmap", HTMLInputElement).checked,
    frames: within,
  };
}
