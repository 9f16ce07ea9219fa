// @ts-check
// What moves on the page: the theme, the order of tables, the threshold, heatmaps, and the ledger's filters.
// Everything is there without it; it hides, shows, orders and counts, and writes text as text alone.
"use strict";

/** @typedef {{name: string, fake: number[], real: number[], worse?: number[], better?: number[]}} Counted */
/** @typedef {{fakes: number, reals: number, variants: Counted[]}} Scores */
/**
 * @typedef {Scores & {steps: number, extra: number[], fixed: number, galleries?: Scores,
 *   cut: {left: number, width: number}, announced: number[]}} Data
 */
/** @typedef {{tp: number, fn: number, fp: number, tn: number}} Confusion */

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T | null} the element, where the page has it
 */
function element(id, kind) {
  const node = document.getElementById(id);
  return node instanceof kind ? node : null;
}

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {HTMLElement[]}
 */
function all(selector, root = document) {
  return Array.from(root.querySelectorAll(selector)).filter((node) => node instanceof HTMLElement);
}

// ------------------------------------------------------------------------------------------------ numbers
/**
 * @param {number} count
 * @returns {string} with commas between thousands
 */
function counted(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * Three digits after the point, ties to even: as the tables that stand still have been written.
 * @param {number | null} value
 * @returns {string}
 */
function rate(value) {
  if (value === null) {
    return "–";
  }
  let shown = Math.abs(value).toFixed(3);
  // Only odd sixteenths lie just between two numbers of three digits.
  if (Math.abs(value * 16) % 2 === 1) {
    const below = Math.floor(Math.abs(value) * 1000);
    shown = ((below % 2 ? below + 1 : below) / 1000).toFixed(3);
  }
  return value < 0 && Number(shown) ? `−${shown}` : shown;
}

/**
 * @param {number} part
 * @param {number} whole
 * @returns {number | null} null where it is undefined
 */
function share(part, whole) {
  return whole ? part / whole : null;
}

/**
 * @param {Confusion} point
 * @returns {Record<string, number | null>}
 */
function rates({ tp, fn, fp, tn }) {
  const recall = share(tp, tp + fn);
  const specificity = share(tn, tn + fp);
  const product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn);
  return {
    recall,
    specificity,
    precision: share(tp, tp + fp),
    f1: share(2 * tp, 2 * tp + fp + fn),
    accuracy: share(tp + tn, tp + fn + fp + tn),
    balanced_accuracy: recall === null || specificity === null ? null : (recall + specificity) / 2,
    mcc: product ? (tp * tn - fp * fn) / Math.sqrt(product) : null,
  };
}

// -------------------------------------------------------------------------------------------------- theme
const THEMES = ["system", "dark", "light"];

function setUpTheme() {
  const button = element("theme", HTMLButtonElement);
  if (!button) {
    return;
  }
  let index = 0;
  button.addEventListener("click", () => {
    index = (index + 1) % THEMES.length;
    const theme = THEMES[index];
    document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme === "system" ? "as the system" : theme}`);
  });
}

// ------------------------------------------------------------------------------------------------- tables
/**
 * @param {HTMLTableRowElement} row
 * @param {number} column
 * @returns {string | number | null} what the row sorts by; null comes last
 */
function sortValue(row, column) {
  const value = row.cells[column].dataset.value;
  if (value === undefined) {
    return null;
  }
  return row.cells[column].classList.contains("right") ? Number(value) : value;
}

/**
 * @param {HTMLTableElement} table
 * @param {number} column
 */
function sort(table, column) {
  const titles = Array.from(table.tHead?.rows[0].cells ?? []);
  const rising = titles[column].getAttribute("aria-sort") !== "ascending";
  titles.forEach((title) => title.removeAttribute("aria-sort"));
  titles[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((row, other) => {
    const [a, b] = [sortValue(row, column), sortValue(other, column)];
    if (a === null || b === null) {
      return Number(a === null) - Number(b === null);
    }
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
    return rising ? order : -order;
  });
  body.append(...rows);
}

function setUpSorting() {
  for (const button of all("[data-sorter]")) {
    button.addEventListener("click", () => {
      const cell = button.closest("th");
      const table = button.closest("table");
      if (cell && table) {
        sort(table, cell.cellIndex);
      }
    });
  }
}

function setUpEdges() {
  const sizes = new ResizeObserver((changed) => changed.forEach((change) => mark(change.target)));
  /** @param {Element} box */
  const mark = (box) => {
    // Rounding may leave a pixel that nobody can scroll to.
    box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  };
  for (const box of all(".scroll")) {
    sizes.observe(box);
    box.addEventListener("scroll", () => mark(box), { passive: true });
  }
}

// ---------------------------------------------------------------------------------------------- threshold
/**
 * @param {Data} data
 * @param {number} threshold
 * @returns {number} the index of its counts: those of exactly this threshold where there are any, otherwise the nearest step's
 */
function indexOfThreshold(data, threshold) {
  const step = Math.min(Math.max(Math.round(threshold * data.steps), 0), data.steps);
  const extra = data.extra.indexOf(threshold);
  return step / data.steps === threshold || extra < 0 ? step : data.steps + 1 + extra;
}

/**
 * @param {Data} data
 * @param {number} index
 * @returns {number}
 */
function thresholdAt(data, index) {
  return index <= data.steps ? index / data.steps : data.extra[index - data.steps - 1];
}

/**
 * @param {Scores} data
 * @param {number} variant
 * @param {number} index
 * @returns {Confusion & {worse?: number, better?: number}}
 */
function decisions(data, variant, index) {
  const counts = data.variants[variant];
  const tp = counts.fake[index];
  const fp = counts.real[index];
  const flips = { worse: counts.worse?.[index], better: counts.better?.[index] };
  return { tp, fn: data.fakes - tp, fp, tn: data.reals - fp, ...flips };
}

/**
 * Writes the decisions into every marked element below `root`, which belongs to one variant.
 * @param {HTMLElement} root
 * @param {Record<string, number | undefined>} point
 */
function writeCounts(root, point) {
  for (const cell of all("[data-count]", root)) {
    const count = point[cell.dataset.count ?? ""];
    if (count !== undefined) {
      cell.textContent = counted(count);
    }
  }
}

/**
 * @param {HTMLElement} root
 * @param {Confusion} point
 */
function writeMatrix(root, point) {
  for (const cell of all("[data-cell]", root)) {
    const key = /** @type {keyof Confusion} */ (cell.dataset.cell);
    const whole = key === "tp" || key === "fn" ? point.tp + point.fn : point.fp + point.tn;
    cell.textContent = counted(point[key]);
    for (const share of all("small", cell.closest("td") ?? cell)) {
      share.textContent = whole ? `${((100 * point[key]) / whole).toFixed(1)} %` : "";
    }
    cell.closest("td")?.setAttribute("data-level", String(whole ? Math.round((10 * point[key]) / whole) : 0));
  }
}

/**
 * Shows of a variant's galleries the frames that lie on the threshold's other side no more.
 * @param {HTMLElement} gallery
 * @param {number} threshold
 */
function showFrames(gallery, threshold) {
  for (const list of all("ol.frames", gallery)) {
    const fake = list.dataset.called === "fake";
    let none = true;
    for (const item of all("li", list)) {
      item.hidden = Number(item.dataset.p) >= threshold !== fake;
      none &&= item.hidden;
      if (item.dataset.baseline !== undefined) {
        const called = Number(item.dataset.baseline) >= threshold ? "fake" : "real";
        for (const heat of item.querySelectorAll(".beside [data-for]")) {
          heat.classList.toggle("off", heat.getAttribute("data-for") !== called);
        }
      }
    }
    if (list.nextElementSibling instanceof HTMLElement) {
      list.nextElementSibling.hidden = !none;
    }
  }
}

/**
 * @param {Data} data
 * @param {number} index
 */
function showDecisions(data, index) {
  const threshold = thresholdAt(data, index);
  for (const root of all("[data-variant]:not(#ledger tr)")) {
    const seen = root.classList.contains("gallery") ? data.galleries ?? data : data;
    const point = decisions(seen, Number(root.dataset.variant), index);
    writeCounts(root, point);
    writeMatrix(root, point);
    const byName = rates(point);
    for (const cell of all("[data-rate]", root)) {
      cell.textContent = rate(byName[cell.dataset.rate ?? ""]);
    }
    showFrames(root, threshold);
  }
  const x = String(data.cut.left + data.cut.width * threshold);
  for (const line of document.querySelectorAll(".cut")) {
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
}

/**
 * @param {Data} data
 * @param {number} index
 * @returns {string} for those who cannot see the numbers move
 */
function sentence(data, index) {
  const announced = data.announced.map((variant) => {
    const { tp, fp } = decisions(data, variant, index);
    return [data.variants[variant].name, counted(tp), counted(fp)];
  });
  const [name, hits, called] = announced[0];
  const beside = announced.slice(1).map((other) => `; ${other[0]}: ${other[1]} and ${other[2]}`);
  const fakes = `${hits} of ${counted(data.fakes)} fakes`;
  const reals = `${called} of ${counted(data.reals)} reals`;
  return `At ${shownThreshold(thresholdAt(data, index))}: ${name} finds ${fakes} and calls ${reals} fake${beside.join("")}.`;
}

/**
 * @param {number} threshold
 * @returns {string} six digits at most
 */
function shownThreshold(threshold) {
  return String(Number(threshold.toFixed(6)));
}

/** @param {Data} data */
function setUpThreshold(data) {
  const slide = element("slide", HTMLInputElement);
  const typed = element("typed", HTMLInputElement);
  const jump = element("jump", HTMLSelectElement);
  const announced = element("announced", HTMLElement);
  const at = element("at", HTMLElement);
  if (!slide || !typed || !jump || !announced || !at) {
    return;
  }
  let timer = 0;
  /** @param {number} index @param {HTMLElement} [source] */
  const go = (index, source) => {
    const shown = shownThreshold(thresholdAt(data, index));
    at.textContent = shown;
    if (source !== slide) {
      slide.value = shown;
    }
    if (source !== typed) {
      typed.value = shown;
    }
    if (source !== jump) {
      jump.value = "";
    }
    slide.setAttribute("aria-valuetext", `P(fake) ≥ ${shown}`);
    showDecisions(data, index);
    // Announced only when the slider rests: a sentence for every step would never end.
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      announced.textContent = sentence(data, index);
    }, 400);
  };
  slide.addEventListener("input", () => go(indexOfThreshold(data, Math.round(Number(slide.value) * data.steps) / data.steps), slide));
  typed.addEventListener("input", () => {
    if (typed.value !== "" && Number(typed.value) >= 0 && Number(typed.value) <= 1) {
      go(indexOfThreshold(data, Number(typed.value)), typed);
    }
  });
  typed.addEventListener("change", () => {
    typed.value = at.textContent ?? "";
  });
  jump.addEventListener("change", () => {
    if (jump.value !== "") {
      go(indexOfThreshold(data, Number(jump.value)), jump);
    }
  });
  // A browser that restores a form after reloading would show another threshold than the numbers do.
  go(indexOfThreshold(data, data.fixed));
}

// ---------------------------------------------------------------------------------------------- galleries
function setUpGalleries() {
  const root = document.documentElement;
  const heat = element("heat", HTMLInputElement);
  const outline = element("outline", HTMLInputElement);
  const beside = element("beside", HTMLInputElement);
  const opacity = element("opacity", HTMLInputElement);
  const unfold = element("unfold", HTMLButtonElement);
  heat?.addEventListener("change", () => root.classList.toggle("no-heat", !heat.checked));
  outline?.addEventListener("change", () => root.classList.toggle("no-mask", !outline.checked));
  beside?.addEventListener("change", () => root.classList.toggle("no-beside", !beside.checked));
  opacity?.addEventListener("input", () => root.style.setProperty("--heat", String(Number(opacity.value) / 100)));
  unfold?.addEventListener("click", () => {
    const folds = Array.from(document.querySelectorAll("details.gallery")).filter((node) => node instanceof HTMLDetailsElement);
    const open = folds.some((fold) => !fold.open);
    folds.forEach((fold) => {
      fold.open = open;
    });
    unfold.textContent = open ? "Close all" : "Open all";
  });
}

// ------------------------------------------------------------------------------------------------- ledger
function setUpLedger() {
  const search = element("search", HTMLInputElement);
  const variant = element("of-variant", HTMLSelectElement);
  const direction = element("of-direction", HTMLSelectElement);
  const ofClass = element("of-class", HTMLSelectElement);
  const matches = element("matches", HTMLElement);
  if (!search || !variant || !direction || !ofClass || !matches) {
    return;
  }
  const rows = all("#ledger tbody tr");
  const filter = () => {
    const query = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const chosen =
        (!variant.value || row.dataset.variant === variant.value) &&
        (!direction.value || row.dataset.direction === direction.value) &&
        (!ofClass.value || row.dataset.class === ofClass.value);
      const searched = all("[data-searched]", row).map((cell) => (cell.dataset.value ?? "").toLowerCase());
      row.hidden = !chosen || !searched.some((text) => text.includes(query));
      shown += Number(!row.hidden);
    }
    matches.textContent = `${counted(shown)} of ${counted(rows.length)} shown`;
  };
  [search, variant, direction, ofClass].forEach((field) => field.addEventListener("input", filter));
  search.form?.addEventListener("submit", (event) => event.preventDefault());
}

// --------------------------------------------------------------------------------------------------- page
function setUpPrinting() {
  /** @type {HTMLDetailsElement[]} */
  let closed = [];
  window.addEventListener("beforeprint", () => {
    // Pictures fill pages: of the galleries, those are printed that the reader opened.
    const details = /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details:not(.gallery)"));
    closed = Array.from(details).filter((fold) => !fold.open);
    closed.forEach((fold) => {
      fold.open = true;
    });
  });
  window.addEventListener("afterprint", () => {
    closed.forEach((fold) => {
      fold.open = false;
    });
  });
}

document.documentElement.classList.remove("no-script");
setUpTheme();
setUpSorting();
setUpEdges();
setUpGalleries();
setUpLedger();
setUpPrinting();
setUpThreshold(JSON.parse(element("data", HTMLScriptElement)?.textContent ?? "{}"));
