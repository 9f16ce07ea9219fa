// @ts-check
// What moves on the page: the theme, the order of tables, the threshold, heatmaps, and the ledger's filters.
// Everything is there without it; it hides, shows, orders and counts, and writes text as text alone.
"use strict";

/** @typedef {{name: string, fake: number[], real: number[], worse?: number[], better?: number[]}} Counted */
/**
 * @typedef {{steps: number, extra: number[], fixed: number, fakes: number, reals: number,
 *   cut: {left: number, width: number}, told: number[], variants: Counted[]}} Data
 */
/** @typedef {{tp: number, fn: number, fp: number, tn: number}} Confusion */

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T | null} the element, where the page has it
 */
function found(id, kind) {
  const element = document.getElementById(id);
  return element instanceof kind ? element : null;
}

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {HTMLElement[]}
 */
function all(selector, root = document) {
  return Array.from(root.querySelectorAll(selector)).filter((one) => one instanceof HTMLElement);
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
  const button = found("theme", HTMLButtonElement);
  if (!button) {
    return;
  }
  let place = 0;
  button.addEventListener("click", () => {
    place = (place + 1) % THEMES.length;
    const theme = THEMES[place];
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
  const told = row.cells[column].dataset.value;
  if (told === undefined) {
    return null;
  }
  return row.cells[column].classList.contains("right") ? Number(told) : told;
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
  rows.sort((one, other) => {
    const [a, b] = [sortValue(one, column), sortValue(other, column)];
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
  const sizes = new ResizeObserver((changed) => changed.forEach((one) => mark(one.target)));
  /** @param {Element} box */
  const mark = (box) => {
    // Rounding may leave a pixel that no one can scroll to.
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
 * @returns {number} the place of its counts: exactly its own where there are some, otherwise the nearest step's
 */
function placeOf(data, threshold) {
  const step = Math.min(Math.max(Math.round(threshold * data.steps), 0), data.steps);
  const extra = data.extra.indexOf(threshold);
  return step / data.steps === threshold || extra < 0 ? step : data.steps + 1 + extra;
}

/**
 * @param {Data} data
 * @param {number} place
 * @returns {number}
 */
function thresholdAt(data, place) {
  return place <= data.steps ? place / data.steps : data.extra[place - data.steps - 1];
}

/**
 * @param {Data} data
 * @param {number} variant
 * @param {number} place
 * @returns {Confusion & {worse?: number, better?: number}}
 */
function decisions(data, variant, place) {
  const one = data.variants[variant];
  const tp = one.fake[place];
  const fp = one.real[place];
  const flips = { worse: one.worse?.[place], better: one.better?.[place] };
  return { tp, fn: data.fakes - tp, fp, tn: data.reals - fp, ...flips };
}

/**
 * Writes the decisions into every marked place below `root`, which belongs to one variant.
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
    cell.dataset.level = String(whole ? Math.round((10 * point[key]) / whole) : 0);
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
 * @param {number} place
 */
function showDecisions(data, place) {
  const threshold = thresholdAt(data, place);
  for (const root of all("[data-variant]:not(#ledger tr)")) {
    const point = decisions(data, Number(root.dataset.variant), place);
    writeCounts(root, point);
    writeMatrix(root, point);
    const known = rates(point);
    for (const cell of all("[data-rate]", root)) {
      cell.textContent = rate(known[cell.dataset.rate ?? ""]);
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
 * @param {number} place
 * @returns {string} for those who cannot see the numbers move
 */
function sentence(data, place) {
  const said = data.told.map((variant) => {
    const { tp, fp } = decisions(data, variant, place);
    return [data.variants[variant].name, counted(tp), counted(fp)];
  });
  const [name, found, called] = said[0];
  const beside = said.slice(1).map((one) => `; ${one[0]}: ${one[1]} and ${one[2]}`);
  const fakes = `${found} of ${counted(data.fakes)} fakes`;
  const reals = `${called} of ${counted(data.reals)} reals`;
  return `At ${shownThreshold(thresholdAt(data, place))}: ${name} finds ${fakes} and calls ${reals} fake${beside.join("")}.`;
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
  const slide = found("slide", HTMLInputElement);
  const typed = found("typed", HTMLInputElement);
  const jump = found("jump", HTMLSelectElement);
  const told = found("told", HTMLElement);
  const at = found("at", HTMLElement);
  if (!slide || !typed || !jump || !told || !at) {
    return;
  }
  let timer = 0;
  /** @param {number} place @param {HTMLElement} [source] */
  const go = (place, source) => {
    const shown = shownThreshold(thresholdAt(data, place));
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
    showDecisions(data, place);
    // Told only when the slider rests: a sentence for every step would never end.
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      told.textContent = sentence(data, place);
    }, 400);
  };
  slide.addEventListener("input", () => go(placeOf(data, Math.round(Number(slide.value) * data.steps) / data.steps), slide));
  typed.addEventListener("input", () => {
    if (typed.value !== "" && Number(typed.value) >= 0 && Number(typed.value) <= 1) {
      go(placeOf(data, Number(typed.value)), typed);
    }
  });
  typed.addEventListener("change", () => {
    typed.value = at.textContent ?? "";
  });
  jump.addEventListener("change", () => {
    if (jump.value !== "") {
      go(placeOf(data, Number(jump.value)), jump);
    }
  });
  // A browser that restores a form after reloading would show another threshold than the numbers do.
  go(placeOf(data, data.fixed));
}

// ---------------------------------------------------------------------------------------------- galleries
function setUpGalleries() {
  const root = document.documentElement;
  const heat = found("heat", HTMLInputElement);
  const beside = found("beside", HTMLInputElement);
  const opacity = found("opacity", HTMLInputElement);
  const unfold = found("unfold", HTMLButtonElement);
  heat?.addEventListener("change", () => root.classList.toggle("no-heat", !heat.checked));
  beside?.addEventListener("change", () => root.classList.toggle("no-beside", !beside.checked));
  opacity?.addEventListener("input", () => root.style.setProperty("--heat", String(Number(opacity.value) / 100)));
  unfold?.addEventListener("click", () => {
    const folds = Array.from(document.querySelectorAll("details.gallery")).filter((one) => one instanceof HTMLDetailsElement);
    const open = folds.some((one) => !one.open);
    folds.forEach((one) => {
      one.open = open;
    });
    unfold.textContent = open ? "Close all" : "Open all";
  });
}

// ------------------------------------------------------------------------------------------------- ledger
function setUpLedger() {
  const find = found("find", HTMLInputElement);
  const variant = found("of-variant", HTMLSelectElement);
  const direction = found("of-direction", HTMLSelectElement);
  const ofClass = found("of-class", HTMLSelectElement);
  const said = found("found", HTMLElement);
  if (!find || !variant || !direction || !ofClass || !said) {
    return;
  }
  const rows = all("#ledger tbody tr");
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const chosen =
        (!variant.value || row.dataset.variant === variant.value) &&
        (!direction.value || row.dataset.direction === direction.value) &&
        (!ofClass.value || row.dataset.class === ofClass.value);
      const told = all("[data-searched]", row).map((cell) => (cell.dataset.value ?? "").toLowerCase());
      row.hidden = !chosen || !told.some((text) => text.includes(wanted));
      shown += Number(!row.hidden);
    }
    said.textContent = `${counted(shown)} of ${counted(rows.length)} shown`;
  };
  [find, variant, direction, ofClass].forEach((one) => one.addEventListener("input", filter));
  find.form?.addEventListener("submit", (event) => event.preventDefault());
}

// --------------------------------------------------------------------------------------------------- page
function setUpPrinting() {
  /** @type {HTMLDetailsElement[]} */
  let closed = [];
  window.addEventListener("beforeprint", () => {
    // Pictures fill pages: of the galleries, those are printed that the reader opened.
    const details = /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details:not(.gallery)"));
    closed = Array.from(details).filter((one) => !one.open);
    closed.forEach((one) => {
      one.open = true;
    });
  });
  window.addEventListener("afterprint", () => {
    closed.forEach((one) => {
      one.open = false;
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
setUpThreshold(JSON.parse(found("data", HTMLScriptElement)?.textContent ?? "{}"));
