// How files come in: dropped anywhere on the page, chosen, or pasted. They are checked and shown before any upload.

import { button, element, make } from "./dom.js";
import { ACCEPTED, addressOf, kindOf, measured, objection, tooLarge } from "./files.js";
import { counted, duration, size } from "./numbers.js";

/** @typedef {import("./types.js").Limits} Limits */
/** @typedef {import("./files.js").Kind} Kind */

const MOST_PREVIEWS = 24;

export class Intake {
  /** @type {File[]} */
  files = [];
  /** @type {Limits | null} */
  limits = null;
  /** @type {string[]} sentences on what was left out */
  problems = [];

  /** @param {(files: File[]) => void} onChange told after every change of `files` */
  constructor(onChange) {
    this.onChange = onChange;
    this.input = element("files", HTMLInputElement);
    this.list = element("previews", HTMLUListElement);
    this.input.accept = ACCEPTED;
    this.input.addEventListener("change", () => {
      this.take(Array.from(this.input.files ?? []));
      this.input.value = ""; // so that the same file can be chosen again
    });
    element("clear", HTMLButtonElement).addEventListener("click", () => {
      this.replace([], []);
      this.input.focus();
    });
    this.listenForDrops();
    document.addEventListener("paste", (event) => {
      const files = Array.from(event.clipboardData?.files ?? []);
      if (files.length) {
        event.preventDefault();
        this.take(files);
      }
    });
  }

  /** @returns {Kind | null} of what is chosen */
  get kind() {
    return this.files.length ? kindOf(this.files[0]) : null;
  }

  listenForDrops() {
    const body = document.body;
    const over = (/** @type {boolean} */ yes) => body.classList.toggle("dragged-over", yes);
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(event.dataTransfer?.types.includes("Files") ?? false);
    });
    window.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      const folders = Array.from(event.dataTransfer?.items ?? [])
        .map((item) => item.webkitGetAsEntry?.())
        .filter((entry) => entry?.isDirectory)
        .map((entry) => entry?.name ?? "");
      const files = Array.from(event.dataTransfer?.files ?? []).filter((file) => !folders.includes(file.name));
      const problems = folders.map((name) => `${name} is a folder. Drop the files in it instead.`);
      if (!files.length && !folders.length) {
        problems.push("What was dropped is no file. Save the picture first, then drop the file.");
      }
      this.take(files, problems);
    });
  }

  /**
   * Replace what was chosen before. Pictures go together; a video goes alone.
   * @param {File[]} offered
   * @param {string[]} problems sentences on what was left out already
   */
  take(offered, problems = []) {
    const { limits } = this;
    if (!limits || (!offered.length && !problems.length)) {
      return;
    }
    /** @type {File[]} */
    const sound = [];
    for (const file of offered) {
      const problem = objection(file, limits);
      if (problem) {
        problems.push(problem);
      } else {
        sound.push(file);
      }
    }
    this.replace(this.ofOneKind(sound, problems), problems);
  }

  /**
   * @param {File[]} sound
   * @param {string[]} problems told what is left out
   * @returns {File[]}
   */
  ofOneKind(sound, problems) {
    if (!sound.length) {
      return this.files;
    }
    const kind = kindOf(sound[0]);
    const alike = sound.filter((file) => kindOf(file) === kind);
    const files = kind === "video" ? alike.slice(0, 1) : alike;
    for (const file of sound.filter((left) => !files.includes(left))) {
      const why = kind === kindOf(file) ? "One video at a time" : "Pictures and videos are analysed apart";
      problems.push(`${why}: ${file.name} was left out.`);
    }
    return files;
  }

  /**
   * @param {File[]} files
   * @param {string[]} problems
   */
  replace(files, problems) {
    const same = files === this.files;
    this.files = files;
    this.complain(problems);
    if (!same) {
      this.show();
      this.onChange(files);
    }
  }

  /** @param {string[]} problems */
  complain(problems) {
    this.problems = problems;
    element("problems", HTMLUListElement).replaceChildren(...problems.map((problem) => make("li", {}, problem)));
  }

  show() {
    const { files, kind } = this;
    const isVideo = kind === "video";
    const shown = files.slice(0, MOST_PREVIEWS);
    this.list.replaceChildren(...shown.map((file) => (isVideo ? this.video(file) : this.picture(file))));
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    const more = files.length > shown.length ? `, ${MOST_PREVIEWS} of them shown` : "";
    element("chosen", HTMLElement).hidden = !files.length;
    const title = isVideo ? "1 video" : counted(files.length, "picture");
    element("chosen-title", HTMLElement).textContent = `${title} (${size(bytes)}${more})`;
    element("announced", HTMLElement).textContent = files.length ? `${title} chosen. Nothing is uploaded yet.` : "";
  }

  /** @param {File} file */
  picture(file) {
    const image = make("img", { src: addressOf(file), alt: "", class: "preview" });
    return this.preview(file, image, "This browser can't show it; the service may read it.");
  }

  /** @param {File} file */
  video(file) {
    const player = make("video", { src: addressOf(file), controls: true, preload: "metadata", class: "preview" });
    player.muted = true;
    player.setAttribute("aria-label", `Preview of ${file.name}`);
    return this.preview(file, player, "This browser can't play it; the service may read it.");
  }

  /**
   * @param {File} file
   * @param {HTMLImageElement | HTMLVideoElement} node
   * @param {string} unseen
   */
  preview(file, node, unseen) {
    const note = make("span", { class: "quiet" }, size(file.size));
    const remove = button("Remove", () => this.remove(file), { "aria-label": `Remove ${file.name}`, class: "small" });
    const item = make("li", {}, node, make("span", { class: "file" }, file.name), note, remove);
    measured(node).then((measures) => {
      if (!measures) {
        node.replaceWith(make("span", { class: "preview unseeable" }, unseen));
        return;
      }
      const lasts = measures.seconds === null ? "" : ` · ${duration(measures.seconds)}`;
      note.textContent = `${measures.width} × ${measures.height} · ${size(file.size)}${lasts}`;
      const problem = this.limits && tooLarge(file, measures, this.limits);
      if (problem && this.files.includes(file)) {
        this.replace(
          this.files.filter((other) => other !== file),
          [...this.problems, problem],
        );
      }
    });
    return item;
  }

  /** @param {File} file */
  remove(file) {
    const index = this.files.indexOf(file);
    this.replace(
      this.files.filter((other) => other !== file),
      [],
    );
    const buttons = this.list.querySelectorAll("button");
    const next = buttons[Math.min(index, buttons.length - 1)];
    (next ?? this.input).focus();
  }
}
