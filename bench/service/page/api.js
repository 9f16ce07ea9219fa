// Requests to the service. Whatever goes wrong becomes a sentence for people.

const ROOT = new URL("../", import.meta.url);
const KEY = "bench-api-key";
const LONGEST_WAIT_S = 60;

/** What the service, or the way to it, refused. */
export class ServiceError extends Error {
  /**
   * @param {string} sentence
   * @param {number} status 0 where no answer came
   * @param {number | null} retryAfter in seconds
   */
  constructor(sentence, status, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** @returns {string} the key of this tab, empty without one */
export function apiKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** @param {string} key */
export function keepApiKey(key) {
  if (key) {
    sessionStorage.setItem(KEY, key);
  } else {
    sessionStorage.removeItem(KEY);
  }
}

/**
 * @param {string} path
 * @param {Record<string, string>} parameters
 * @returns {URL} of a WebSocket of the service
 */
export function socketAddress(path, parameters) {
  const address = new URL(path, ROOT);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  address.search = new URLSearchParams(parameters).toString();
  return address;
}

/** @returns {Record<string, string>} */
function headers() {
  const key = apiKey();
  return key ? { "X-API-Key": key } : {};
}

/**
 * @param {number} status
 * @param {string} reason
 * @param {string} body
 * @param {string | null} retryAfter
 * @returns {ServiceError}
 */
function refusal(status, reason, body, retryAfter) {
  const seconds = retryAfter === null ? null : Number(retryAfter);
  const wait = seconds !== null && Number.isFinite(seconds) ? seconds : null;
  const said = sentence(body) ?? `the service answered ${status} ${reason}`.trim();
  return new ServiceError(/[.!?]$/.test(said) ? said : `${said}.`, status, wait);
}

/**
 * @param {string} body
 * @returns {string | null} the sentence of an error, where it has one
 */
function sentence(body) {
  try {
    const { detail } = JSON.parse(body);
    if (typeof detail === "string" && detail) {
      return detail;
    }
    // FastAPI's shape of what its own checks refuse.
    if (Array.isArray(detail)) {
      return detail.map((problem) => `${(problem.loc ?? []).at(-1) ?? ""}: ${problem.msg ?? ""}`).join("; ");
    }
  } catch {
    // Not JSON: whoever answered, a proxy perhaps, is told by its status.
  }
  return null;
}

/** @returns {ServiceError} */
function unreachable() {
  return new ServiceError("The service can't be reached. Check that it is running, then try again.", 0);
}

/** Browsers don't show the answer of a service that refuses an upload before it has all of it. */
function brokenOff() {
  return new ServiceError("No answer came: the service is not running, or it broke the upload off.", 0);
}

/**
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>}
 */
async function request(path, options) {
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers: headers(), cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw unreachable();
  }
  if (!response.ok) {
    const { status, statusText } = response;
    throw refusal(status, statusText, await response.text(), response.headers.get("Retry-After"));
  }
  return response;
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>} the JSON of the answer, null without one
 */
export async function ask(path, options = {}) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/**
 * Ask for something that needs the key and costs nothing. Raises where the key is refused.
 * @returns {Promise<void>}
 */
export async function checkKey() {
  await request("metrics", {});
}

/**
 * A picture of the service, which an <img> can't ask for itself where keys are required.
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {Promise<Blob>}
 */
export async function picture(path, signal) {
  return (await request(path, { signal })).blob();
}

/**
 * `fetch` tells nothing of an upload's progress, so this is an XMLHttpRequest.
 * @param {string} path
 * @param {FormData} form
 * @param {(fraction: number) => void} onProgress share of the upload that is sent
 * @param {AbortSignal} signal
 * @returns {Promise<any>} the JSON of the answer
 */
export function upload(path, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const sent = new XMLHttpRequest();
    const abort = () => sent.abort();
    signal.addEventListener("abort", abort, { once: true });
    sent.open("POST", new URL(path, ROOT));
    for (const [name, value] of Object.entries(headers())) {
      sent.setRequestHeader(name, value);
    }
    sent.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    sent.addEventListener("loadend", () => signal.removeEventListener("abort", abort));
    sent.addEventListener("abort", () => reject(signal.reason));
    sent.addEventListener("error", () => reject(brokenOff()));
    sent.addEventListener("load", () => answer(sent, resolve, reject));
    sent.send(form);
  });
}

/**
 * @param {XMLHttpRequest} sent
 * @param {(answer: any) => void} resolve
 * @param {(reason: unknown) => void} reject
 */
function answer(sent, resolve, reject) {
  if (sent.status < 200 || sent.status > 299) {
    reject(refusal(sent.status, sent.statusText, sent.responseText, sent.getResponseHeader("Retry-After")));
    return;
  }
  try {
    resolve(JSON.parse(sent.responseText));
  } catch {
    const problem = "The service's answer is no JSON. Is something else listening at this address?";
    reject(new ServiceError(problem, sent.status));
  }
}

/**
 * @param {number} seconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>} rejects where it is cancelled meanwhile
 */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, 1000 * seconds);
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
  });
}

/**
 * Do it again where the service is busy, as long after as it asks for.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {(seconds: number) => void} onWait
 * @param {AbortSignal} signal
 * @param {number} [tries]
 * @returns {Promise<T>}
 */
export async function patiently(attempt, onWait, signal, tries = 4) {
  for (let left = tries; ; left -= 1) {
    try {
      return await attempt();
    } catch (error) {
      const busy = error instanceof ServiceError && (error.status === 429 || error.status === 503);
      const seconds = busy ? (error.retryAfter ?? 2) : Infinity;
      if (left <= 1 || seconds > LONGEST_WAIT_S) {
        throw error;
      }
      onWait(seconds);
      await pause(seconds, signal);
    }
  }
}
