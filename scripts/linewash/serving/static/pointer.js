// Mouse, pen, fingers and keys on the canvas.

import * as canvas from "./canvas.js";
import { recolor, recolorInStroke } from "./coloring.js";
import { $, input } from "./elements.js";
import { on } from "./events.js";
import { dab, fillAlong, highlight, pick, selectArea } from "./hints.js";
import { add, drawing, isDrawn } from "./history.js";
import { strokeWidth, tools } from "./tools.js";
import { canvasPoint, pan, stagePoint, view, zoomAt } from "./zoom.js";

/** @typedef {import("./canvas.js").Point} Point */
const stage = $("stage"), cursor = $("cursor");
const KEY_STEP = 8; // pixels of the canvas by which an arrow key moves the pen
/** @type {{x: number, y: number}|null} the point of the last stroke's end */
let lastEnd = null;
/** The pointer that draws: its number, "keys" for the arrow keys, or null. @type {number|"keys"|null} */
let drawingPointer = null;
/** Where the pointer is, while the pen follows on its string. @type {Point|null} */
let pointerAt = null;
let isFrameRequested = false;

// ---- strokes -----------------------------------------------------------------------------------------

/** @returns {import("./canvas.js").StrokeTool} */
const strokeTool = () => (tools.tool === "fill" ? "hint" : /** @type {any} */ (tools.tool));

/** @param {Point} point @param {number|"keys"} pointer @param {boolean} isStraight */
function begin(point, pointer, isStraight) {
  const start = isStraight && lastEnd ? [{ ...lastEnd, pressure: 1 }, point] : [point];
  drawing.stroke = {
    kind: "stroke", tool: strokeTool(), width: strokeWidth(view.scale), points: start,
    color: tools.tool === "fill" ? tools.color : canvas.INK,
  };
  drawingPointer = pointer;
  pointerAt = point;
  stage.classList.add("drawn");
  canvas.saveLayers(drawing.stroke);
  canvas.paintStroke(drawing.stroke);
}

/** @param {Point} point @param {boolean} isStraight */
function extend(point, isStraight) {
  const { stroke } = drawing;
  if (!stroke) return;
  pointerAt = point;
  if (isStraight) stroke.points = [stroke.points[0], point];
  else {
    const pulled = pull(/** @type {Point} */ (stroke.points.at(-1)), point);
    if (pulled) stroke.points.push(pulled);
  }
  if (!isFrameRequested) requestAnimationFrame(paintFrame);
  isFrameRequested = true;
  recolorInStroke();
}

/**
 * The stabilizer: the pen follows the pointer on a string, so that a tremble shorter than the string does not show.
 * @param {Point} pen @param {Point} pointer @returns {Point|null}
 */
function pull(pen, pointer) {
  const distance = Math.hypot(pointer.x - pen.x, pointer.y - pen.y), length = stringLength();
  if (distance <= length) return null;
  const part = (distance - length) / distance;
  return { x: pen.x + (pointer.x - pen.x) * part, y: pen.y + (pointer.y - pen.y) * part, pressure: pointer.pressure };
}

const stringLength = () => (drawingPointer === "keys" || tools.tool !== "pen" ? 0 : Number(input("smoothing").value) / view.scale);

function paintFrame() {
  isFrameRequested = false;
  if (drawing.stroke) canvas.repaint(drawing.stroke);
}

function end() {
  const { stroke } = drawing;
  if (!stroke) return;
  drawing.stroke = drawingPointer = null;
  const last = /** @type {Point} */ (stroke.points.at(-1));
  if (pointerAt && (pointerAt.x !== last.x || pointerAt.y !== last.y)) stroke.points.push(pointerAt);
  lastEnd = stroke.points.at(-1) ?? null;
  canvas.repaint(stroke);
  if (stroke.tool === "hint") fillAlong(stroke);
  add(stroke, true);
}

/** Drops the stroke in progress, for example when a second finger begins a pinch. */
function cancel() {
  if (!drawing.stroke) return;
  canvas.restoreLayers(drawing.stroke);
  drawing.stroke = drawingPointer = null;
  stage.classList.toggle("drawn", isDrawn());
  recolor();
}

// ---- pointers ----------------------------------------------------------------------------------------

/** The fingers on the stage, in its pixels. @type {Map<number, {x: number, y: number}>} */
const fingers = new Map();
let isSpaceDown = false;
/** @type {{pointer: number, x: number, y: number}|null} */
let panning = null;
/** What a click does when the pointer is released, unless it has become a pinch. @type {{pointer: number, action: () => void}|null} */
let click = null;

/** @param {PointerEvent} event @returns {Point} */
function pointOf(event) {
  return { ...canvasPoint(event), pressure: event.pointerType === "pen" && event.pressure ? 0.4 + event.pressure : 1 };
}

stage.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  stage.focus({ preventScroll: true });
  try { stage.setPointerCapture(event.pointerId); } catch { /* the pointer has been released */ }
  if (event.pointerType === "touch") fingers.set(event.pointerId, stagePoint(event));
  if (fingers.size > 1) {
    click = null;
    return cancel();
  }
  if (event.button === 1 || (event.button === 0 && isSpaceDown)) {
    panning = { pointer: event.pointerId, ...stagePoint(event) };
    stage.classList.add("panning");
    return;
  }
  if (event.button !== 0 || drawing.stroke) return;
  const point = pointOf(event), pointer = event.pointerId;
  if (event.altKey || tools.tool === "picker") click = { pointer, action: () => pick(point) };
  else if (tools.tool === "area") click = { pointer, action: () => selectArea(point) };
  else begin(point, pointer, event.shiftKey);
});

stage.addEventListener("pointermove", (event) => {
  const here = stagePoint(event);
  if (fingers.has(event.pointerId) && fingers.size > 1) return pinch(event.pointerId, here);
  if (panning?.pointer === event.pointerId) {
    pan(here.x - panning.x, here.y - panning.y);
    panning = { pointer: event.pointerId, ...here };
    return;
  }
  moveCursor(here.x, here.y);
  if (drawingPointer !== event.pointerId) {
    if (event.pointerType !== "touch") highlight(canvasPoint(event));
    return;
  }
  const all = event.getCoalescedEvents?.() ?? [];
  for (const each of all.length ? all : [event]) extend(pointOf(each), event.shiftKey);
});

for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
  stage.addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    if (panning?.pointer === event.pointerId) {
      panning = null;
      stage.classList.remove("panning");
    }
    if (click?.pointer === event.pointerId) {
      if (name === "pointerup") click.action();
      click = null;
    }
    if (drawingPointer !== event.pointerId) return;
    if (name === "pointercancel") cancel();
    else end();
  });
}
stage.addEventListener("pointerleave", () => {
  if (!drawing.stroke && !keys.here) cursor.style.display = "none";
  highlight(null);
});
stage.addEventListener("auxclick", (event) => event.preventDefault());

/** Two fingers zoom and move the page. @param {number} pointer @param {{x: number, y: number}} here */
function pinch(pointer, here) {
  const before = [...fingers.values()];
  fingers.set(pointer, here);
  const after = [...fingers.values()];
  const middle = (/** @type {{x: number, y: number}[]} */ [a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const distance = (/** @type {{x: number, y: number}[]} */ [a, b]) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
  const [from, to] = [middle(before), middle(after)];
  pan(to.x - from.x, to.y - from.y);
  zoomAt(to.x, to.y, distance(after) / distance(before));
}

/** @param {number} x @param {number} y on the stage */
function moveCursor(x, y) {
  const diameter = Math.max(4, strokeWidth(view.scale) * view.scale), isFilling = tools.tool === "fill";
  Object.assign(cursor.style, {
    display: ["pen", "divider", "eraser", "hint-eraser"].includes(tools.tool) || keys.here ? "block" : "none",
    width: `${diameter}px`, height: `${diameter}px`, left: `${x}px`, top: `${y}px`, background: isFilling ? tools.color : "transparent",
  });
}

// ---- keys --------------------------------------------------------------------------------------------

/** The pen that arrow keys move, in pixels of the canvas. */
const keys = { x: 0, y: 0, here: false };
/** @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES[event.key];
  if (!move && event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  if (!keys.here) Object.assign(keys, { x: canvas.ink.width / 2, y: canvas.ink.height / 2, here: true });
  if (move) moveKeys(move, event.shiftKey);
  else if (event.key === "Escape") cancel();
  else if (event.key === "Enter") enter();
  cursor.classList.toggle("down", drawingPointer === "keys");
  moveCursor(keys.x * view.scale + view.x, keys.y * view.scale + view.y);
  highlight(keys);
});

/** @param {[number, number]} move @param {boolean} isFar */
function moveKeys(move, isFar) {
  const step = KEY_STEP * (isFar ? 5 : 1);
  keys.x = Math.min(canvas.ink.width, Math.max(0, keys.x + move[0] * step));
  keys.y = Math.min(canvas.ink.height, Math.max(0, keys.y + move[1] * step));
  if (drawingPointer === "keys") extend({ x: keys.x, y: keys.y, pressure: 1 }, false);
}

function enter() {
  const point = { x: keys.x, y: keys.y, pressure: 1 };
  if (drawingPointer === "keys") end();
  else if (tools.tool === "fill") dab(point, tools.color);
  else if (tools.tool === "area") selectArea(point);
  else if (tools.tool === "picker") pick(point);
  else if (!drawing.stroke) begin(point, "keys", false);
}

stage.addEventListener("blur", () => {
  if (drawingPointer === "keys") end();
  keys.here = false;
  cursor.classList.remove("down");
  cursor.style.display = "none";
});
addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target !== stage) return;
  event.preventDefault();
  isSpaceDown = true;
  stage.classList.add("pan");
});
addEventListener("keyup", (event) => {
  if (event.key !== " ") return;
  isSpaceDown = false;
  stage.classList.remove("pan");
});
on("tool", () => { cursor.style.display = "none"; highlight(null); });
