// What kind of file was dropped, and whether it is worth an upload. The service checks everything again, by content.

import { counted, size } from "./numbers.js";

/** @typedef {import("./types.js").Limits} Limits */
/** @typedef {"picture" | "video"} Kind */
/** @typedef {{width: number, height: number, seconds: number | null}} Measures */

const PICTURES = new Set(
  `.jpg .jpeg .jpe .jfif .png .apng .webp .bmp .gif .tif .tiff .jp2 .j2k .j2c .jpc .jpf .jpx .avif .ppm .pgm .pbm
  .pnm`.split(/\s+/),
);
const VIDEOS = new Set(
  `.mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .m2v .wmv .asf .flv .ts .mts .m2ts .vob .3gp .3g2 .ogv .mxf .y4m .h264
  .264 .h265 .265 .hevc .ivf .mjpg .mjpeg`.split(/\s+/),
);

/** @type {WeakMap<File, string>} */
const addresses = new WeakMap();
/** @type {Set<File>} */
const shown = new Set();

/** For the file chooser. Phones offer the camera, and some know types alone, others endings alone. */
export const ACCEPTED = ["image/*", "video/*", ...PICTURES, ...VIDEOS].join(",");

/**
 * @param {File} file
 * @returns {Kind | null} by its ending, else by its type; null for neither
 */
export function kindOf(file) {
  const ending = file.name.toLowerCase().match(/\.[^.]+$/)?.[0] ?? "";
  if (PICTURES.has(ending)) {
    return "picture";
  }
  if (VIDEOS.has(ending)) {
    return "video";
  }
  if (/^image\/(?!svg)/.test(file.type)) {
    return "picture";
  }
  return file.type.startsWith("video/") ? "video" : null;
}

/**
 * @param {File} file
 * @returns {string} an address at which this page alone can show it
 */
export function addressOf(file) {
  const address = addresses.get(file) ?? URL.createObjectURL(file);
  addresses.set(file, address);
  shown.add(file);
  return address;
}

/**
 * Let go of every file but these.
 * @param {File[]} kept
 */
export function release(kept) {
  for (const file of shown) {
    if (!kept.includes(file)) {
      URL.revokeObjectURL(addresses.get(file) ?? "");
      addresses.delete(file);
      shown.delete(file);
    }
  }
}

/**
 * @param {File} file
 * @param {Limits} limits
 * @returns {string | null} why it can't be sent, as a sentence
 */
export function objection(file, limits) {
  const kind = kindOf(file);
  if (kind === null) {
    return `${file.name} is neither a picture nor a video.`;
  }
  if (file.size === 0) {
    return `${file.name} is empty.`;
  }
  const most = kind === "video" ? limits.video_mib : limits.upload_mib;
  if (file.size > most * 2 ** 20) {
    return `${file.name} has ${size(file.size)}; this service takes ${kind}s of up to ${most} MiB.`;
  }
  return null;
}

/**
 * @param {File} file
 * @param {Measures} measures
 * @param {Limits} limits
 * @returns {string | null} why it can't be sent, now that its measures are known
 */
export function tooLarge(file, measures, limits) {
  const megapixels = (measures.width * measures.height) / 1e6;
  if (kindOf(file) === "picture" && megapixels > limits.megapixels) {
    const most = `this service takes up to ${counted(limits.megapixels, "megapixel")}`;
    const measured = `${measures.width} × ${measures.height} pixels (${megapixels.toFixed(1)} megapixels)`;
    return `${file.name} is ${measured}; ${most}.`;
  }
  if (measures.seconds !== null && measures.seconds > limits.video_seconds) {
    const most = `this service takes videos of up to ${limits.video_seconds} s`;
    return `${file.name} lasts ${Math.round(measures.seconds)} s; ${most}.`;
  }
  return null;
}

/**
 * @param {HTMLImageElement | HTMLVideoElement} node that shows the file
 * @returns {Promise<Measures | null>} once they are known; null where this browser can't show it
 */
export function measured(node) {
  return new Promise((resolve) => {
    const give = (/** @type {Measures | null} */ measures) => resolve(measures);
    node.addEventListener("error", () => give(null), { once: true });
    if (node instanceof HTMLImageElement) {
      node.addEventListener("load", () => {
        give({ width: node.naturalWidth, height: node.naturalHeight, seconds: null });
      });
    } else {
      node.addEventListener("loadedmetadata", () => {
        const seconds = Number.isFinite(node.duration) ? node.duration : null;
        give(node.videoWidth ? { width: node.videoWidth, height: node.videoHeight, seconds } : null);
      });
    }
  });
}
