// What the page asks of the service; nothing here knows the page but for the form that asks for a token.

/**
 * @typedef {{id: string, digest: string, size: string, profile: string, sampler: string, steps: number, max_steps: number}} Model
 * @typedef {{verified: boolean, seed: number, differences: string[], notes: string[]}} Verdict
 * @typedef {{images_seen: number, epoch: number, weights: string, seed: number, url: string}} Preview
 */

const TOKEN = "synthray-token";
const MOST_WAITS = 100;

/** A refusal, in the service's words. */
export class Refusal extends Error {}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} an answer that is good; waits while there is no room
 */
export async function ask(path, options = {}) {
  for (let waits = 0; ; waits++) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = new Headers(options.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const answer = await fetch(path, { ...options, headers });
    if (answer.ok) return answer;
    if (answer.status === 401) await askForToken(options.signal ?? undefined);
    else if (answer.status === 429 && waits < MOST_WAITS) {
      await pause(1000 * Number(answer.headers.get("Retry-After") ?? 1), options.signal ?? undefined);
    } else throw new Refusal(await readProblem(answer));
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export async function askForJson(path, options) {
  return (await ask(path, options)).json();
}

/** @param {Response} answer @returns {Promise<string>} */
async function readProblem(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the service answered ${answer.status} ${answer.statusText}`;
  }
}

/** @param {number} milliseconds @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** @type {Promise<void> | null} */
let asking = null;

/** @param {AbortSignal} [signal] @returns {Promise<void>} once the person has given a token */
function askForToken(signal) {
  const form = /** @type {HTMLFormElement} */ (document.getElementById("key"));
  const input = /** @type {HTMLInputElement} */ (document.getElementById("token"));
  asking ??= new Promise((resolve) => {
    sessionStorage.removeItem(TOKEN);
    form.hidden = false;
    input.focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, input.value.trim());
      input.value = "";
      form.hidden = true;
      asking = null;
      resolve();
    }, { once: true });
  });
  return new Promise((resolve, reject) => {
    asking?.then(resolve);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}
