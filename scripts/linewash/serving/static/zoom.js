// Zoom and pan: where the page lies on the stage.

import { ink } from "./canvas.js";
import { $, button } from "./elements.js";
import { emit, on } from "./events.js";

/** Screen pixels per pixel of the canvas, and where its top left corner lies on the stage. */
export const view = { scale: 1, x: 0, y: 0 };
const MARGIN = 10; // px around the page when all of it is shown
const MAX_SCALE = 24;
const STEP = 1.25;
let isFitted = true;

const stage = $("stage");

function apply() {
  $("sheet").style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  button("actual").textContent = `${Math.round(100 * view.scale)} %`;
  emit("view");
}

function fitScale() {
  const margin = Math.min(MARGIN, stage.clientWidth / 20);
  return Math.min((stage.clientWidth - 2 * margin) / ink.width, (stage.clientHeight - 2 * margin) / ink.height);
}

/** Shows the whole page. */
export function fit() {
  isFitted = true;
  view.scale = Math.max(fitScale(), 0.01);
  view.x = (stage.clientWidth - ink.width * view.scale) / 2;
  view.y = (stage.clientHeight - ink.height * view.scale) / 2;
  apply();
}

/** Zooms around a point of the stage. @param {number} x @param {number} y @param {number} factor */
export function zoomAt(x, y, factor) {
  const scale = Math.min(MAX_SCALE, Math.max(Math.min(fitScale(), 1) / 4, view.scale * factor));
  view.x = x - (x - view.x) * scale / view.scale;
  view.y = y - (y - view.y) * scale / view.scale;
  view.scale = scale;
  isFitted = false;
  keepInSight();
}

/** @param {number} dx @param {number} dy */
export function pan(dx, dy) {
  view.x += dx;
  view.y += dy;
  isFitted = false;
  keepInSight();
}

/** A part of the page always stays on the stage. */
function keepInSight() {
  const [width, height] = [ink.width * view.scale, ink.height * view.scale];
  view.x = Math.min(stage.clientWidth * 0.8, Math.max(stage.clientWidth * 0.2 - width, view.x));
  view.y = Math.min(stage.clientHeight * 0.8, Math.max(stage.clientHeight * 0.2 - height, view.y));
  apply();
}

const atCenter = (/** @type {number} */ factor) => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, factor);
export const zoomIn = () => atCenter(STEP);
export const zoomOut = () => atCenter(1 / STEP);

/** Where an event happened on the stage, in screen pixels. @param {{clientX: number, clientY: number}} event */
export function stagePoint(event) {
  const box = stage.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

/** The same in pixels of the canvas. @param {{clientX: number, clientY: number}} event */
export function canvasPoint(event) {
  const { x, y } = stagePoint(event);
  return { x: (x - view.x) / view.scale, y: (y - view.y) / view.scale };
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = stagePoint(event), lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  // The pinch of a touchpad is a wheel with Ctrl and small steps.
  zoomAt(x, y, Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)));
}, { passive: false });
button("zoom-in").addEventListener("click", zoomIn);
button("zoom-out").addEventListener("click", zoomOut);
button("fit").addEventListener("click", fit);
button("actual").addEventListener("click", () => atCenter(1 / view.scale / devicePixelRatio));
new ResizeObserver(() => (isFitted ? fit() : keepInSight())).observe(stage);
on("opened", fit);
