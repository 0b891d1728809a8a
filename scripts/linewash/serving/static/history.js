// The drawing on the page: what it began from and the operations since. Replaying them paints the layers.

import * as canvas from "./canvas.js";
import { emit } from "./events.js";

/**
 * What a drawing begins from: an empty page, an opened picture, or the layers of a .linewash file.
 * `ownWidth` x `ownHeight` is the size of the opened picture, in which it is downloaded.
 * @typedef {{width: number, height: number, ownWidth: number, ownHeight: number, ink: Blob|null, hints: Blob|null, dividers: Blob|null}} Base
 * @typedef {{kind: "replace", from: string, to: string}} Replace  changes a colour everywhere
 * @typedef {{kind: "lock", image: string|null}} Lock  colours that stay, a PNG in base64; null unlocks
 * @typedef {import("./canvas.js").Stroke | Replace | Lock} Operation
 */

/** @type {{base: Base, bitmaps: Map<HTMLCanvasElement, ImageBitmap>, done: Operation[], undone: Operation[], stroke: import("./canvas.js").Stroke|null, version: number}} */
export const drawing = {
  base: emptyBase(1024, 768), bitmaps: new Map(), done: [], undone: [],
  stroke: null, // the one in progress
  version: 0, // counts changes
};

/** @param {number} width @param {number} height @returns {Base} */
export function emptyBase(width, height) {
  return { width, height, ownWidth: width, ownHeight: height, ink: null, hints: null, dividers: null };
}

/** Puts another drawing on the page. @param {Base} base @param {Operation[]} [operations] @param {Operation[]} [undone] */
export async function open(base, operations = [], undone = []) {
  const bitmaps = new Map();
  for (const [target, blob] of [[canvas.ink, base.ink], [canvas.hints, base.hints], [canvas.dividers, base.dividers]]) {
    if (blob) bitmaps.set(target, await createImageBitmap(/** @type {Blob} */ (blob)));
  }
  Object.assign(drawing, { base, bitmaps, done: operations, undone, stroke: null });
  replay();
  emit("opened");
  changed();
}

/** @param {Operation} operation @param {boolean} [isPainted] whether its layers show it already */
export function add(operation, isPainted = false) {
  drawing.done.push(operation);
  drawing.undone = [];
  if (!isPainted) replay();
  changed();
}

export function undo() {
  const last = drawing.stroke ? undefined : drawing.done.pop();
  if (!last) return;
  drawing.undone.push(last);
  replay();
  changed();
}

export function redo() {
  const next = drawing.stroke ? undefined : drawing.undone.pop();
  if (!next) return;
  drawing.done.push(next);
  replay();
  changed();
}

/** Tells the other modules that the picture is to be coloured anew. */
export function changed() {
  drawing.version++;
  emit("changed");
}

function replay() {
  const { base, bitmaps, done } = drawing;
  if (canvas.ink.width !== base.width || canvas.ink.height !== base.height) canvas.setSize(base.width, base.height);
  for (const target of [canvas.ink, canvas.hints, canvas.dividers]) {
    canvas.context(target).clearRect(0, 0, base.width, base.height);
    const bitmap = bitmaps.get(target);
    if (bitmap) canvas.context(target).drawImage(bitmap, 0, 0, base.width, base.height);
  }
  for (const [index, operation] of done.entries()) {
    if (operation.kind === "stroke") canvas.paintStroke(operation, colorAfter(operation.color, index));
  }
}

/** A hint changes its colour with the later replacements. @param {string} color @param {number} index of its operation */
function colorAfter(color, index) {
  for (const operation of drawing.done.slice(index + 1)) {
    if (operation.kind === "replace" && operation.from === color) color = operation.to;
  }
  return color;
}

/** The replacements of the network's colours, each applied once. @returns {[string, string][]} */
export function replacements() {
  /** @type {Map<string, string>} */
  const map = new Map();
  for (const operation of drawing.done) {
    if (operation.kind !== "replace") continue;
    for (const [from, to] of map) if (to === operation.from) map.set(from, operation.to);
    if (!map.has(operation.from)) map.set(operation.from, operation.to);
  }
  return [...map].filter(([from, to]) => from !== to);
}

/** The colours that stay, a PNG in base64, or null. @returns {string|null} */
export function locked() {
  const lock = drawing.done.findLast((operation) => operation.kind === "lock");
  return lock?.kind === "lock" ? lock.image : null;
}

/** Whether there is anything on the page. */
export function isDrawn() {
  const { base, done, stroke } = drawing;
  return Boolean(stroke || base.ink || base.hints || done.some((operation) => operation.kind === "stroke"));
}
