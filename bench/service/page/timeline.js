// P(fake) over a video's time, one line a variant, with its threshold. A frame is chosen by click or arrow keys.

import { draw, make, set } from "./dom.js";
import { probability } from "./numbers.js";

/** @typedef {import("./types.js").FrameAnswer} FrameAnswer */
/** @typedef {FrameAnswer & {time: number}} Point */
/** @typedef {{name: string, threshold: number, points: Point[]}} Line */

const [WIDTH, NARROW, HEIGHT] = [760, 380, 230];
const [LEFT, MARGIN, TOP, BOTTOM] = [42, 12, 10, 190];
const PHONE = "(max-width: 40rem)"; // as in style.css
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3000, 6000, 12000];
const MOST_LABELS = 8;

/** @param {number} value */
const y = (value) => BOTTOM - value * (BOTTOM - TOP);

export class Timeline {
  /**
   * @param {Line[]} lines
   * @param {"seconds" | "frames"} unit of their times
   * @param {(time: number) => void} onChoose
   */
  constructor(lines, unit, onChoose) {
    this.lines = lines;
    this.unit = unit;
    this.onChoose = onChoose;
    const times = lines.flatMap((line) => line.points.map((point) => point.time));
    this.times = Array.from(new Set(times)).sort((a, b) => a - b);
    this.span = Math.max(this.times[this.times.length - 1], 0.1);
    this.index = -1;
    this.width = 0;
    this.right = 0;
    this.cursor = draw("line", { class: "cursor", y1: TOP, y2: BOTTOM });
    this.picture = draw("svg", { class: "timeline", "aria-hidden": "true" });
    this.paint();
    const steps = { role: "slider", "aria-valuemin": 0, "aria-valuemax": this.times.length - 1 };
    const attributes = { class: "timeline-handle", tabindex: 0, "aria-label": "Frame of the video", ...steps };
    this.handle = make("div", attributes, this.picture);
    this.handle.addEventListener("keydown", (event) => this.onKey(event));
    this.handle.addEventListener("pointerdown", (event) => this.onPointer(event));
    this.handle.addEventListener("pointermove", (event) => event.buttons && this.onPointer(event));
    this.node = make("figure", { class: "along" }, this.handle, this.caption());
    // A phone is turned, a window resized. Painted in the observer itself, the new height would be one more change.
    new ResizeObserver(() => requestAnimationFrame(() => this.paint())).observe(this.handle);
  }

  /** Draw the lines, unless they are drawn at the width that fits the window. */
  paint() {
    const width = matchMedia(PHONE).matches ? NARROW : WIDTH;
    if (width === this.width) {
      return;
    }
    this.width = width;
    this.right = width - MARGIN;
    set(this.picture, { viewBox: `0 0 ${width} ${HEIGHT}` });
    const lines = this.lines.flatMap((line, index) => this.line(line, index));
    this.picture.replaceChildren(...this.axes(), ...lines, this.cursor);
    this.placeCursor();
  }

  placeCursor() {
    const x = this.x(this.times[this.index] ?? 0);
    set(this.cursor, { x1: x, x2: x });
  }

  /** @param {number} time */
  x(time) {
    return LEFT + (time / this.span) * (this.right - LEFT);
  }

  axes() {
    const step = STEPS.find((size) => this.span / size <= MOST_LABELS) ?? this.span;
    const nodes = [];
    for (let time = 0; time <= this.span + 1e-9; time += step) {
      const x = this.x(time);
      const text = step < 1 ? time.toFixed(1) : String(Math.round(time));
      nodes.push(draw("line", { class: "tick", x1: x, x2: x, y1: BOTTOM, y2: BOTTOM + 5 }));
      nodes.push(draw("text", { x, y: BOTTOM + 19, "text-anchor": "middle" }, text));
    }
    for (const value of [0, 0.25, 0.5, 0.75, 1]) {
      nodes.push(draw("line", { class: "grid", x1: LEFT, x2: this.right, y1: y(value), y2: y(value) }));
      nodes.push(draw("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, String(value)));
    }
    nodes.push(draw("text", { x: (LEFT + this.right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, this.unit));
    return nodes;
  }

  /**
   * @param {Line} line
   * @param {number} index
   */
  line({ threshold, points }, index) {
    const path = points.map((point) => `${this.x(point.time).toFixed(1)},${y(point.fake_probability).toFixed(1)}`);
    const marks = points.map((point) =>
      draw("circle", {
        class: `point line${index} ${point.prediction.toLowerCase()}`,
        cx: this.x(point.time),
        cy: y(point.fake_probability),
        r: 4,
      }),
    );
    return [
      draw("line", { class: `limit line${index}`, x1: LEFT, x2: this.right, y1: y(threshold), y2: y(threshold) }),
      draw("polyline", { class: `curve line${index}`, points: path.join(" ") }),
      ...marks,
    ];
  }

  caption() {
    const ofLines = this.lines.map(({ name, threshold }, index) => {
      const sample = draw(
        "svg",
        { class: "sample", viewBox: "0 0 34 12", "aria-hidden": "true" },
        draw("line", { class: `curve line${index}`, x1: 0, x2: 34, y1: 6, y2: 6 }),
      );
      return make("span", { class: "key" }, sample, ` ${name}, threshold ${probability(threshold)} (dashed). `);
    });
    const help = "Up is fake. Click a spot, or use the arrow keys, to see a frame.";
    return make("figcaption", {}, "P(fake) of each judged frame. ", ...ofLines, help);
  }

  /** @returns {number} the index of the time at which P(fake) is highest */
  highest() {
    const points = this.lines.flatMap((line) => line.points);
    const best = points.reduce((top, point) => (point.fake_probability > top.fake_probability ? point : top));
    return this.times.indexOf(best.time);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const last = this.times.length - 1;
    /** @type {Record<string, number>} */
    const targets = {
      ArrowRight: this.index + 1,
      ArrowUp: this.index + 1,
      ArrowLeft: this.index - 1,
      ArrowDown: this.index - 1,
      PageUp: this.index + 5,
      PageDown: this.index - 5,
      Home: 0,
      End: last,
    };
    if (event.key in targets) {
      event.preventDefault();
      this.choose(Math.min(last, Math.max(0, targets[event.key])));
    }
  }

  /** @param {PointerEvent} event */
  onPointer(event) {
    const box = this.picture.getBoundingClientRect();
    const pointed = ((((event.clientX - box.left) / box.width) * this.width - LEFT) / (this.right - LEFT)) * this.span;
    const distances = this.times.map((time) => Math.abs(time - pointed));
    this.choose(distances.indexOf(Math.min(...distances)));
  }

  /** @param {number} index of one of the times */
  choose(index) {
    if (index === this.index) {
      return;
    }
    this.index = index;
    const time = this.times[index];
    this.placeCursor();
    const states = this.lines.map(({ name, points }) => {
      const point = points.find((other) => other.time === time);
      const says = point ? `${point.prediction}, P(fake) ${probability(point.fake_probability)}` : "not judged";
      return this.lines.length > 1 ? `${name} ${says}` : says;
    });
    const when = this.unit === "seconds" ? `${time.toFixed(2)} seconds` : `frame ${time}`;
    set(this.handle, { "aria-valuenow": index, "aria-valuetext": `${when}: ${states.join("; ")}` });
    this.onChoose(time);
  }
}
