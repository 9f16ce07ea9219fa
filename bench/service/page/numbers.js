// Numbers as the page writes them.

/**
 * A probability with three digits; what rounds to 0 or 1 and is neither says so.
 * @param {number} value from 0 to 1
 * @returns {string}
 */
export function probability(value) {
  if (value > 0.9995 && value < 1) {
    return ">\u00a00.999";
  }
  return value > 0 && value < 0.0005 ? "<\u00a00.001" : value.toFixed(3);
}

/**
 * @param {number} value from 0 to 1
 * @returns {string}
 */
export function percent(value) {
  if (value > 0.9995 && value < 1) {
    return "> 99.9\u00a0%";
  }
  return value > 0 && value < 0.0005 ? "< 0.1\u00a0%" : `${(100 * value).toFixed(1)}\u00a0%`;
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds < 1) {
    return `${Math.round(1000 * seconds)} ms`;
  }
  if (seconds < 60) {
    return `${seconds.toFixed(1)} s`;
  }
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/**
 * @param {number} bytes
 * @returns {string}
 */
export function size(bytes) {
  return bytes < 2 ** 20 ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/**
 * @param {number} count
 * @param {string} noun in the singular, of a plural with s
 * @returns {string}
 */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * @param {number[]} values at least one
 * @returns {number}
 */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
