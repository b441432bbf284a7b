// A PNG that is dropped or chosen is sent to be made again and compared.
import { Refusal, askForJson } from "/static/service.js";

/** @param {File} file */
async function check(file) {
  show(`Making ${file.name} again ...`);
  try {
    /** @type {import("./service.js").Verdict} */
    const verdict = await askForJson("/v1/verify", { method: "POST", body: file });
    if (verdict.verified) show(`${file.name}: verified. It is seed ${verdict.seed} of this model, pixel for pixel.`, "good", verdict.notes);
    else show(`${file.name}: not what its receipt says.`, "bad", verdict.differences);
  } catch (error) {
    show(error instanceof Refusal ? error.message : "The service can't be reached.", "bad");
  }
}

/** @param {string} words @param {string} [kind] @param {string[]} [more] */
function show(words, kind = "", more = []) {
  const sentence = document.createElement("p");
  sentence.textContent = words;
  sentence.className = kind;
  const list = document.createElement("ul");
  for (const one of more) list.append(Object.assign(document.createElement("li"), { textContent: one }));
  document.getElementById("verdict")?.replaceChildren(sentence, ...(more.length ? [list] : []));
}

/** Listen for files, dropped anywhere on the page or chosen. */
export function watchForFiles() {
  const input = /** @type {HTMLInputElement} */ (document.getElementById("file"));
  const target = /** @type {HTMLElement} */ (document.getElementById("drop"));
  input.addEventListener("change", () => input.files?.[0] && check(input.files[0]));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  addEventListener("dragleave", () => target.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) check(file);
  });
}
