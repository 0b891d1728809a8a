// Hints: dabs that fill an area, the area under the pointer, and the panel that changes the colour of an area.

import * as canvas from "./canvas.js";
import * as coloring from "./coloring.js";
import { $, button, input, showStatus, swatch } from "./elements.js";
import { on } from "./events.js";
import { add, drawing, locked } from "./history.js";
import { addRecent, nameOf, selectColor, strokeWidth, tools } from "./tools.js";
import { view } from "./zoom.js";

/** @typedef {{x: number, y: number}} Position  in pixels of the canvas */
const HIGHLIGHT = 150; // opacity of the area under the pointer, of 255
const MAX_NEIGHBOURS = 5;
/** The area that the panel shows. @type {Position|null} */
let selected = null;

// ---- filling -----------------------------------------------------------------------------------------

/** Fills the area around a point. @param {Position} point @param {string} color */
export function dab(point, color) {
  coloring.fillAtOnce(point, color);
  addRecent(color);
  add({ kind: "stroke", tool: "hint", color, width: strokeWidth(view.scale), points: [{ ...point, pressure: 1 }] });
}

/** Shows at once what a hint stroke fills. @param {import("./canvas.js").Stroke} stroke */
export function fillAlong(stroke) {
  const started = performance.now();
  const middle = stroke.points[Math.floor(stroke.points.length / 2)];
  coloring.fillAtOnce(middle, stroke.color);
  addRecent(stroke.color);
  document.body.dataset.fillMs = (performance.now() - started).toFixed(1);
}

/** Takes the colour of the picture at a point. @param {Position} point */
export function pick(point) {
  const color = coloring.colorAt(point);
  if (color) selectColor(color);
  else showStatus("there is no colour yet at this point");
}

// ---- the area under the pointer ----------------------------------------------------------------------

/** Lights up what a click would change. @param {Position|null} point */
export function highlight(point) {
  const isFilling = tools.tool === "fill" || tools.tool === "area";
  show(point && isFilling && !drawing.stroke ? point : selected);
}

let shown = "";
/** @param {Position|null} point */
function show(point) {
  const { overlay } = canvas, mask = point && coloring.hasColors() ? coloring.maskAt(point) : null;
  const first = mask ? mask.indexOf(1) : -1, key = mask ? `${first} ${tools.color} ${tools.tool} ${drawing.version} ${coloring.result.width}` : "";
  if (key === shown) return;
  shown = key;
  [overlay.width, overlay.height] = [coloring.result.width || 1, coloring.result.height || 1];
  if (!mask) return;
  const { width, height } = coloring.result;
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const inside = tools.tool === "fill" ? coloring.translucent(tools.color, HIGHLIGHT) : 0;
  const light = coloring.translucent("#ffffff", 255), dark = coloring.translucent("#17617d", 255);
  for (let i = 0; i < pixels.length; i++) {
    if (!mask[i]) continue;
    const column = i % width;
    const isRim = column === 0 || column === width - 1 || !mask[i - 1] || !mask[i + 1] || !mask[i - width] || !mask[i + width];
    pixels[i] = isRim ? ((column + Math.floor(i / width)) % 6 < 3 ? light : dark) : inside;
  }
  canvas.context(overlay).putImageData(image, 0, 0);
}

// ---- the panel of an area ----------------------------------------------------------------------------

/** @param {Position} point */
export function selectArea(point) {
  if (!coloring.hasColors()) return showStatus("draw first: there is no area yet");
  selected = coloring.indexAt(point) < 0 ? null : point;
  showArea();
}

/** Gives the selected area another colour, or its colour everywhere. @param {string} color */
function changeArea(color) {
  if (!selected) return;
  const from = coloring.colorAt(selected);
  if (input("everywhere").checked && from) {
    addRecent(color);
    if (from !== color) add({ kind: "replace", from, to: color });
  } else dab(selected, color);
}

function showArea() {
  $("area-section").hidden = !selected || !coloring.hasColors();
  highlight(selected);
  if (!selected || !coloring.hasColors()) return;
  const { result } = coloring, number = result.regions[coloring.indexAt(selected)];
  const likeliest = result.likeliest[number].map(([color, share]) => shareButton(color, `${Math.round(100 * share)} %`));
  $("area-colors").replaceChildren(...likeliest);
  $("area-neighbours").replaceChildren(...neighbourColors(number).map((color) => shareButton(color, "")));
  for (const id of ["area-colors", "area-neighbours"]) $(`${id}-title`).hidden = !$(id).childElementCount;
}

/** @param {string} color @param {string} label */
function shareButton(color, label) {
  const each = swatch(color, label ? `${nameOf(color)}, ${label}` : nameOf(color), () => changeArea(color)), sample = document.createElement("span");
  each.style.background = "";
  sample.style.background = color;
  each.append(sample, label || nameOf(color));
  return each;
}

/** The colours beside a region, those with the longest common border first. @param {number} number */
function neighbourColors(number) {
  const { regions, width } = coloring.result, colors = coloring.result.colors[coloring.chosen()];
  /** @type {Map<string, number>} */
  const lengths = new Map();
  for (let i = 0; i + width < regions.length; i++) {
    for (const other of [i + 1, i + width]) {
      if ((regions[i] === number) === (regions[other] === number)) continue;
      const color = colors[regions[i] === number ? regions[other] : regions[i]];
      if (color && color !== colors[number]) lengths.set(color, (lengths.get(color) ?? 0) + 1);
    }
  }
  return [...lengths].sort((a, b) => b[1] - a[1]).slice(0, MAX_NEIGHBOURS).map(([color]) => color);
}

// ---- locks -------------------------------------------------------------------------------------------

/** Keeps all colours as they are, or lets them change again. */
export function toggleLock() {
  if (locked()) add({ kind: "lock", image: null });
  else if (coloring.hasColors()) add({ kind: "lock", image: canvas.base64(coloring.lockedPicture()) });
}

/** Keeps the colour of the selected area, beside those that are locked already. */
async function lockArea() {
  if (!selected) return;
  const { width, height } = coloring.result, mask = coloring.maskAt(selected), all = coloring.lockedPicture();
  if (!mask) return;
  const pen = canvas.context(all), image = pen.getImageData(0, 0, width, height);
  for (let i = 0; i < mask.length; i++) if (!mask[i]) image.data[4 * i + 3] = 0;
  const before = locked();
  pen.clearRect(0, 0, width, height);
  if (before) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(await canvas.fromBase64(before), 0, 0, width, height);
  }
  pen.drawImage(await createImageBitmap(image), 0, 0);
  add({ kind: "lock", image: canvas.base64(all) });
  showStatus("this area keeps its colour; Lock colours releases it");
}

function showLock() {
  button("lock").setAttribute("aria-pressed", String(Boolean(locked())));
  button("lock").textContent = locked() ? "Unlock colours" : "Lock colours";
  button("lock").disabled = !locked() && !coloring.hasColors();
}

button("lock").addEventListener("click", toggleLock);
button("lock-area").addEventListener("click", lockArea);
on("colored", () => { showLock(); showArea(); });
on("opened", () => { selected = null; });
on("tool", () => {
  if (tools.tool !== "area") selected = null;
  showArea();
});
on("color", () => { if (tools.tool === "area") changeArea(tools.color); });
