// The form, the grid that fills, and the address that leads back to both.
import { Refusal, ask, askForJson } from "/static/service.js";
import { showLapse } from "/static/lapse.js";
import { watchForFiles } from "/static/check.js";

/** @typedef {{seed: number, n: number, steps: number, sampler: string}} Wish */

const AT_ONCE = 4;
const SMALL_PX = 128;
const LARGEST_SEED = Number.MAX_SAFE_INTEGER;

/** @param {string} id @returns {any} */
const part = (id) => document.getElementById(id);
const form = /** @type {HTMLFormElement} */ (part("ask"));
const grid = /** @type {HTMLUListElement} */ (part("grid"));

/** @type {import("./service.js").Model} */
let model;
/** @type {AbortController | null} */
let drawing = null;

/** @returns {Wish} */
function readForm() {
  return {
    seed: part("seed").valueAsNumber,
    n: part("n").valueAsNumber,
    steps: part("steps").valueAsNumber,
    sampler: part("sampler").value,
  };
}

/** @param {Partial<Wish>} wish */
function fillForm(wish) {
  for (const [name, value] of Object.entries(wish)) part(name).value = String(value);
}

/** @returns {Partial<Wish>} what the address asks for */
function readAddress() {
  const asked = new URLSearchParams(location.search);
  return Object.fromEntries([...asked].filter(([name]) => ["seed", "n", "steps", "sampler"].includes(name)));
}

/** @param {string} words @param {boolean} [isTrouble] */
function say(words, isTrouble = false) {
  part("standing").textContent = words;
  part("standing").classList.toggle("trouble", isTrouble);
}

/** @param {Wish} wish @param {number} seed @returns {string} where this image is, for ever */
function address(wish, seed) {
  const names = [model.id, wish.sampler, String(wish.steps), String(seed)].map(encodeURIComponent);
  return `/v1/images/${names.join("/")}.png`;
}

/** @param {number} seed @returns {HTMLLIElement} an empty place in the grid */
function addPlace(seed) {
  const place = document.createElement("li");
  const figure = document.createElement("figure");
  const frame = document.createElement("div");
  frame.className = "frame";
  frame.textContent = "waiting";
  const caption = document.createElement("figcaption");
  caption.textContent = `Seed ${seed}`;
  figure.append(frame, caption);
  place.append(figure);
  grid.append(place);
  return place;
}

/** @param {HTMLLIElement} place @param {Wish} wish @param {number} seed @param {AbortSignal} signal */
async function fill(place, wish, seed, signal) {
  const frame = /** @type {HTMLElement} */ (place.querySelector(".frame"));
  frame.textContent = "drawing";
  const url = address(wish, seed);
  const answer = await ask(url, { signal });
  const source = URL.createObjectURL(await answer.blob());
  const image = document.createElement("img");
  image.alt = `Synthetic image of seed ${seed}`;
  image.onload = () => image.classList.toggle("small", image.naturalWidth <= SMALL_PX);
  image.src = source;
  frame.replaceChildren(image);
  const caption = /** @type {HTMLElement} */ (place.querySelector("figcaption"));
  const hash = document.createElement("code");
  hash.textContent = (answer.headers.get("ETag") ?? "").replaceAll('"', "").slice(0, 16);
  hash.title = "SHA-256 of the pixels, its beginning";
  caption.replaceChildren(
    link(`Seed ${seed}`, `/?${new URLSearchParams({ ...textOf(wish), seed: String(seed), n: "1" })}`),
    link("Download", source, `Download seed ${seed}, with its receipt inside`, `${model.id}-${wish.sampler}-${wish.steps}-${seed}.png`),
    link("Address", url, `Address of seed ${seed} alone`),
    hash,
  );
}

/** @param {Wish} wish @returns {Record<string, string>} */
function textOf(wish) {
  return Object.fromEntries(Object.entries(wish).map(([name, value]) => [name, String(value)]));
}

/** @param {string} words @param {string} href @param {string} [label] @param {string} [file] */
function link(words, href, label, file) {
  const anchor = document.createElement("a");
  anchor.textContent = words;
  anchor.href = href;
  if (label) anchor.setAttribute("aria-label", label);
  if (file) anchor.download = file;
  return anchor;
}

function clear() {
  for (const image of grid.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  grid.replaceChildren();
}

/** @param {Wish} wish */
async function draw(wish) {
  drawing?.abort();
  const mine = (drawing = new AbortController());
  clear();
  part("stop").disabled = false;
  const seeds = Array.from({ length: wish.n }, (_, index) => wish.seed + index).filter((seed) => seed <= LARGEST_SEED);
  const waiting = seeds.map((seed) => ({ seed, place: addPlace(seed) }));
  let done = 0;
  say(`0 of ${seeds.length} drawn`);
  const drawSome = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      await fill(next.place, wish, next.seed, mine.signal);
      if (drawing === mine) say(`${++done} of ${seeds.length} drawn`);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, drawSome));
  } catch (error) {
    if (drawing !== mine) return;
    const isStop = mine.signal.aborted;
    mine.abort();
    for (const frame of grid.querySelectorAll(".frame:not(:has(img))")) frame.textContent = "not drawn";
    if (isStop) say(`Stopped: ${done} of ${seeds.length} drawn`);
    else say(error instanceof Refusal ? error.message : `The service can't be reached; Draw tries again.`, true);
  } finally {
    if (drawing === mine) part("stop").disabled = true;
  }
}

/** @param {Wish} wish */
function go(wish) {
  const target = `/?${new URLSearchParams(textOf(wish))}`;
  if (target !== location.pathname + location.search) history.pushState(null, "", target);
  draw(wish);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(readForm());
});
part("stop").addEventListener("click", () => drawing?.abort());
/** @param {number} direction */
const move = (direction) => {
  if (!form.reportValidity()) return;
  const wish = readForm();
  fillForm({ seed: Math.min(LARGEST_SEED, Math.max(0, wish.seed + direction * wish.n)) });
  go(readForm());
};
part("before").addEventListener("click", () => move(-1));
part("after").addEventListener("click", () => move(1));

/** Draw what the address asks for, or wait for a wish. */
function follow() {
  const asked = readAddress();
  fillForm({ seed: 42, n: 4, steps: model.steps, sampler: model.sampler, ...asked });
  if (asked.seed !== undefined && form.reportValidity()) draw(readForm());
}

async function begin() {
  try {
    model = (await askForJson("/v1/models")).data[0];
  } catch (error) {
    say(error instanceof Refusal ? error.message : "The service can't be reached; load the page again.", true);
    return;
  }
  part("model").textContent = `Model ${model.id}, ${model.size} px, profile ${model.profile}.`;
  part("steps").max = String(model.max_steps);
  addEventListener("popstate", follow);
  follow();
  showLapse();
}

watchForFiles();
begin();
