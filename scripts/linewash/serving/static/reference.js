// "Colour it like this": the colours of a picture, or a few colours with sliders.

import { blobOf, fromFile, scaled } from "./canvas.js";
import { $, button, input, showStatus } from "./elements.js";
import { on } from "./events.js";
import { changed } from "./history.js";
import { referenceColors } from "./server.js";
import { choices, isReferenceActive } from "./settings.js";
import { nameOf, tools } from "./tools.js";

const MAX_SLIDERS = 8;
const MAX_COLORS = 64; // that the server takes
const SENT_SIDE = 512; // px of the longer side of a picture whose colours are counted
const THUMBNAIL_SIDE = 104;
const NEW_WEIGHT = 0.25;

/** Takes the colours of a picture. @param {File} file */
export async function openReference(file) {
  showStatus(`reading the colours of ${file.name} …`);
  try {
    const image = await fromFile(file), small = image && scaled(image, SENT_SIDE);
    const colors = await referenceColors(small ? await blobOf(small) : file);
    const thumbnail = small ? scaled(small, THUMBNAIL_SIDE).toDataURL("image/png") : null;
    choices.reference = { on: true, colors: colors.slice(0, MAX_COLORS), name: file.name, thumbnail };
    show();
    changed();
  } catch (error) {
    showStatus(`${file.name}: ${/** @type {Error} */ (error).message}`, true);
  }
}

/** Adds a colour with a slider. @param {string} color */
function addColor(color) {
  const { reference } = choices, index = reference.colors.findIndex(([each]) => each === color);
  const weight = index < 0 ? NEW_WEIGHT : reference.colors[index][1];
  // First in the list, so that its slider is seen.
  reference.colors = [[color, weight], ...reference.colors.filter(([each]) => each !== color)];
  reference.on = true;
  show();
  changed();
}

function clear() {
  choices.reference = { on: false, colors: [], name: "", thumbnail: null };
  show();
  changed();
}

function show() {
  const { reference } = choices, hasColors = reference.colors.length > 0;
  input("reference-on").disabled = !hasColors;
  input("reference-on").checked = reference.on;
  $("strength-row").hidden = !isReferenceActive();
  button("reference-clear").hidden = !hasColors;
  $("reference-name").textContent = reference.name || "Choose or drop a picture";
  const thumbnail = /** @type {HTMLImageElement} */ ($("reference-thumbnail"));
  thumbnail.hidden = !reference.thumbnail;
  if (reference.thumbnail) thumbnail.src = reference.thumbnail;
  $("reference-colors").replaceChildren(...reference.colors.slice(0, MAX_SLIDERS).map(([color, weight]) => slider(color, weight)));
}

/** @param {string} color @param {number} weight */
function slider(color, weight) {
  const row = document.createElement("div"), sample = document.createElement("span"), range = document.createElement("input"), remove = document.createElement("button");
  row.className = "weight";
  sample.style.background = color;
  Object.assign(range, { type: "range", min: "0.01", max: "1", step: "0.01", value: String(weight), title: `How much ${nameOf(color)}` });
  range.setAttribute("aria-label", `How much ${nameOf(color)}`);
  range.addEventListener("change", () => {
    const entry = choices.reference.colors.find(([each]) => each === color);
    if (entry) entry[1] = Number(range.value);
    choices.reference.on = true;
    show();
    changed();
  });
  remove.textContent = "×";
  remove.setAttribute("aria-label", `Remove ${nameOf(color)}`);
  remove.addEventListener("click", () => {
    choices.reference.colors = choices.reference.colors.filter(([each]) => each !== color);
    choices.reference.on &&= choices.reference.colors.length > 0;
    show();
    changed();
  });
  row.append(sample, range, remove);
  return row;
}

/** Lets a person give a reference, if the network takes one. @param {boolean} isTaken */
export function setUpReference(isTaken) {
  $("reference-section").hidden = !isTaken;
  if (!isTaken) return;
  const target = button("reference-picture"), chooser = input("reference-file");
  target.addEventListener("click", () => { chooser.value = ""; chooser.click(); });
  chooser.addEventListener("change", () => { if (chooser.files?.[0]) openReference(chooser.files[0]); });
  target.addEventListener("dragover", () => target.classList.add("over"));
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    target.classList.remove("over");
    document.body.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) openReference(file);
  });
  button("reference-clear").addEventListener("click", clear);
  button("reference-add").addEventListener("click", () => addColor(tools.color));
  input("reference-on").addEventListener("change", () => {
    choices.reference.on = input("reference-on").checked;
    show();
    changed();
  });
  on("opened", show);
  show();
}
