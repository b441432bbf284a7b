// One seed over a run's epochs, from the previews that were drawn while it trained.
import { ask, askForJson, pause } from "/static/service.js";

/** @typedef {import("./service.js").Preview} Preview */

const FRAME_MILLISECONDS = 250;
const SMALL_PX = 128;
/** @type {Record<string, string>} */
const WEIGHTS = { ema: "moving average (EMA)", raw: "raw weights" };

/** @param {string} id @returns {any} */
const part = (id) => document.getElementById(id);

/** @type {Preview[]} */
let previews = [];
/** @type {Map<string, Promise<string>>} */
const pictures = new Map();
let isPlaying = false;

/** @param {string} url @returns {Promise<string>} an address that an image can show */
function fetchPicture(url) {
  const found = pictures.get(url) ?? ask(url).then(async (answer) => URL.createObjectURL(await answer.blob()));
  pictures.set(url, found);
  return found;
}

/** @returns {Preview[]} those of the chosen seed and weights, oldest first */
function chosen() {
  return previews.filter((one) => String(one.seed) === part("lapse-seed").value && one.weights === part("lapse-weights").value);
}

async function showChosen() {
  const some = chosen();
  const slider = part("lapse-epoch");
  slider.max = String(Math.max(0, some.length - 1));
  const one = some[Math.min(slider.valueAsNumber, some.length - 1)];
  if (!one) return;
  const words = `Epoch ${one.epoch.toLocaleString("en")}, ${one.images_seen.toLocaleString("en")} images seen`;
  slider.setAttribute("aria-valuetext", words);
  part("lapse-standing").textContent = words;
  const image = part("lapse-image");
  image.src = await fetchPicture(one.url);
  image.alt = `Synthetic image of seed ${one.seed} after epoch ${one.epoch}`;
  await image.decode();
  image.classList.toggle("small", image.naturalWidth <= SMALL_PX);
}

async function play() {
  isPlaying = !isPlaying;
  const button = part("lapse-play");
  button.setAttribute("aria-pressed", String(isPlaying));
  button.textContent = isPlaying ? "Pause" : "Play";
  const slider = part("lapse-epoch");
  while (isPlaying) {
    slider.value = String((slider.valueAsNumber + 1) % chosen().length);
    await showChosen();
    await pause(FRAME_MILLISECONDS);
  }
}

/** @param {string} id @param {string[]} values @param {Record<string, string>} [words] */
function offer(id, values, words = {}) {
  part(id).replaceChildren(...values.map((value) => new Option(words[value] ?? value, value)));
}

/** Show the section if there are previews. */
export async function showLapse() {
  previews = (await askForJson("/v1/previews")).data;
  if (!previews.length) return;
  offer("lapse-seed", [...new Set(previews.map((one) => String(one.seed)))]);
  offer("lapse-weights", Object.keys(WEIGHTS).filter((kind) => previews.some((one) => one.weights === kind)), WEIGHTS);
  part("lapse").hidden = false;
  for (const id of ["lapse-seed", "lapse-weights"]) part(id).addEventListener("change", showChosen);
  part("lapse-epoch").addEventListener("input", showChosen);
  part("lapse-play").addEventListener("click", play);
  part("lapse-epoch").max = String(chosen().length - 1);
  part("lapse-epoch").value = part("lapse-epoch").max;
  showChosen();
}
