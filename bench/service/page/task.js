// One analysis that runs: its progress, its cancel button, and what came of it.

import { button, element, make } from "./dom.js";
import { ServiceError } from "./api.js";

const ANNOUNCED_EVERY_PERCENT = 25;

/** @param {string} sentence read out by screen readers, in the order of events */
export function announce(sentence) {
  element("announced", HTMLElement).textContent = sentence;
}

/**
 * An error as its sentence, with what can be done.
 * @param {unknown} error
 * @param {() => void} again
 */
export function showError(error, again) {
  const sentence = error instanceof ServiceError ? error.message : `The page failed: ${String(error)}`;
  const wait = error instanceof ServiceError && error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const retry = button("Try again", again);
  const text = make("p", {}, make("strong", {}, "Not done: "), sentence + wait);
  element("error", HTMLElement).replaceChildren(text, retry);
  retry.focus();
}

export function clearError() {
  element("error", HTMLElement).replaceChildren();
}

export class Task {
  /** @param {string} title */
  constructor(title) {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.box = element("progress", HTMLElement);
    this.text = make("p", { id: "progress-text" }, title);
    this.bar = make("progress", { max: 1, "aria-labelledby": "progress-text" });
    this.announcedPercent = 0;
    const cancel = button("Cancel", () => this.controller.abort(new DOMException("cancelled", "AbortError")));
    this.box.replaceChildren(this.text, this.bar, cancel);
    this.box.hidden = false;
    cancel.focus();
    announce(title);
  }

  /**
   * @param {string} text
   * @param {number | null} fraction null while none is known
   */
  progress(text, fraction) {
    this.text.textContent = text;
    if (fraction === null) {
      this.bar.removeAttribute("value");
      return;
    }
    this.bar.value = fraction;
    const percent = 100 * fraction;
    if (percent < this.announcedPercent || percent >= this.announcedPercent + ANNOUNCED_EVERY_PERCENT) {
      this.announcedPercent = Math.floor(percent / ANNOUNCED_EVERY_PERCENT) * ANNOUNCED_EVERY_PERCENT;
      announce(text);
    }
  }

  /**
   * For an upload whose share is sent.
   * @param {string} what
   * @returns {(fraction: number) => void}
   */
  uploading(what) {
    return (fraction) => {
      if (fraction < 1) {
        this.progress(`Uploading ${what}: ${Math.round(100 * fraction)} %`, fraction);
      } else {
        this.progress(`${what} uploaded; the service is working …`, null);
      }
    };
  }

  /** @returns {(seconds: number) => void} for waits that a busy service asks for */
  get waiting() {
    return (seconds) => this.progress(`The service is busy; going on in ${seconds} s …`, null);
  }

  end() {
    this.box.hidden = true;
    this.box.replaceChildren();
  }
}
