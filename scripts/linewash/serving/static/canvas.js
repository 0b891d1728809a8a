// The layers of the page, and how strokes are painted on them.

import { $ } from "./elements.js";

/**
 * A point in pixels of the canvas; pressure 1 is the full width.
 * @typedef {{x: number, y: number, pressure: number}} Point
 * @typedef {"pen"|"hint"|"divider"|"eraser"|"hint-eraser"} StrokeTool
 * @typedef {{kind: "stroke", tool: StrokeTool, color: string, width: number, points: Point[]}} Stroke
 */

/** @param {string} id */
const layer = (id) => /** @type {HTMLCanvasElement} */ ($(id));
export const colors = layer("colors"), overlay = layer("overlay"), hints = layer("hints"), dividers = layer("dividers"), ink = layer("ink");
export const INK = "#221f26";
const DIVIDER = "#c2185b";
const CORNER = Math.cos(Math.PI / 3.6); // a turn by more than 50 degrees is a corner, unless it is a tremble ...
const SHORT = 5; // ... of segments below this length, in pixels of the canvas

/** The canvases are read after every stroke, so they are kept in main memory. @param {HTMLCanvasElement} canvas */
export function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

/** Sets the size of all layers, which clears them. @param {number} width @param {number} height */
export function setSize(width, height) {
  for (const canvas of [ink, hints, dividers, colors]) [canvas.width, canvas.height] = [width, height];
  document.body.style.setProperty("--ratio", String(height / width));
  Object.assign($("sheet").style, { width: `${width}px`, height: `${height}px` });
}

/** @param {StrokeTool} tool @returns {HTMLCanvasElement[]} */
export function layersOf(tool) {
  return { pen: [ink], hint: [hints], divider: [dividers], eraser: [ink, hints, dividers], "hint-eraser": [hints, dividers] }[tool];
}

/** Paints a stroke. @param {Stroke} stroke @param {string} [color] in place of its own */
export function paintStroke(stroke, color = stroke.color) {
  for (const canvas of layersOf(stroke.tool)) {
    const pen = context(canvas);
    pen.globalCompositeOperation = stroke.tool.endsWith("eraser") ? "destination-out" : "source-over";
    pen.strokeStyle = stroke.tool === "divider" ? DIVIDER : color;
    pen.lineCap = pen.lineJoin = "round";
    for (const run of runsOfPressure(stroke.points)) {
      pen.lineWidth = stroke.width * stroke.points[run.to].pressure;
      pen.stroke(curve(stroke.points, run.from, run.to));
    }
    pen.globalCompositeOperation = "source-over";
  }
}

/**
 * All segments of one pressure form one path: antialiased ends of several paths would show.
 * @param {Point[]} points
 */
function runsOfPressure(points) {
  const runs = [];
  let from = 0;
  for (let to = 1; to < points.length; to++) {
    if (to + 1 === points.length || points[to + 1].pressure !== points[to].pressure) {
      runs.push({ from, to });
      from = to;
    }
  }
  return points.length > 1 ? runs : [{ from: 0, to: 0 }];
}

/**
 * A smooth curve through points: a Catmull-Rom spline as Bezier curves (Catmull and Rom 1974). It turns sharply at corners.
 * @param {Point[]} points @param {number} from @param {number} to
 */
function curve(points, from, to) {
  const path = new Path2D();
  path.moveTo(points[from].x, points[from].y);
  if (from === to) path.lineTo(points[from].x + 0.01, points[from].y); // a path without length would not be drawn
  for (let i = from; i < to; i++) {
    const start = points[i], end = points[i + 1];
    const [outX, outY] = tangent(points, i), [inX, inY] = tangent(points, i + 1);
    // A tangent is never longer than the segment, so that the curve does not overshoot beside a long one.
    const length = Math.hypot(end.x - start.x, end.y - start.y);
    const limit = (/** @type {number} */ x, /** @type {number} */ y) => Math.min(1, length / Math.max(Math.hypot(x, y), 1e-6)) / 3;
    const outScale = limit(outX, outY), inScale = limit(inX, inY);
    path.bezierCurveTo(
      start.x + outX * outScale, start.y + outY * outScale, end.x - inX * inScale, end.y - inY * inScale, end.x, end.y,
    );
  }
  return path;
}

/** The direction of the curve at a point, 0 at corners and ends. @param {Point[]} points @param {number} index @returns {[number, number]} */
function tangent(points, index) {
  const before = points[index - 1], here = points[index], after = points[index + 1];
  if (!before || !after) return [0, 0];
  const [ax, ay, bx, by] = [here.x - before.x, here.y - before.y, after.x - here.x, after.y - here.y];
  const [a, b] = [Math.hypot(ax, ay), Math.hypot(bx, by)];
  if (Math.min(a, b) > SHORT && ax * bx + ay * by < CORNER * a * b) return [0, 0];
  return [(after.x - before.x) / 2, (after.y - before.y) / 2];
}

/** The layers before the stroke in progress, which is painted anew with each point. @type {Map<HTMLCanvasElement, HTMLCanvasElement>} */
const saved = new Map([ink, hints, dividers].map((canvas) => [canvas, document.createElement("canvas")]));

/** @param {Stroke} stroke */
export function saveLayers(stroke) {
  for (const canvas of layersOf(stroke.tool)) copy(canvas, /** @type {HTMLCanvasElement} */ (saved.get(canvas)));
}

/** @param {Stroke} stroke */
export function repaint(stroke) {
  restoreLayers(stroke);
  paintStroke(stroke);
}

/** @param {Stroke} stroke */
export function restoreLayers(stroke) {
  for (const canvas of layersOf(stroke.tool)) copy(/** @type {HTMLCanvasElement} */ (saved.get(canvas)), canvas);
}

/** @param {HTMLCanvasElement} from @param {HTMLCanvasElement} to */
function copy(from, to) {
  if (to.width !== from.width || to.height !== from.height) [to.width, to.height] = [from.width, from.height];
  else context(to).clearRect(0, 0, to.width, to.height);
  context(to).drawImage(from, 0, 0);
}

/**
 * Returns a copy whose longer side has at most `longest` pixels.
 * @param {HTMLCanvasElement|HTMLImageElement} canvas @param {number} longest @param {string} [background]
 */
export function scaled(canvas, longest, background) {
  const scale = Math.min(1, longest / Math.max(canvas.width, canvas.height));
  const small = document.createElement("canvas");
  [small.width, small.height] = [canvas.width, canvas.height].map((side) => Math.max(1, Math.round(side * scale)));
  const pen = context(small);
  pen.imageSmoothingQuality = "high";
  if (background) {
    pen.fillStyle = background;
    pen.fillRect(0, 0, small.width, small.height);
  }
  pen.drawImage(canvas, 0, 0, small.width, small.height);
  return small;
}

/** The PNG of a canvas in base64, as JSON carries it. @param {HTMLCanvasElement} canvas */
export const base64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];

/** @param {HTMLCanvasElement} canvas @param {string} [type] @param {number} [quality] of a JPEG @returns {Promise<Blob>} */
export const blobOf = (canvas, type = "image/png", quality) => new Promise((resolve, reject) => canvas.toBlob(
  (blob) => (blob ? resolve(blob) : reject(new Error(`the browser could not write an image of type ${type}`))), type, quality,
));

/** Decodes a PNG in base64. @param {string} png */
export async function fromBase64(png) {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  return image;
}

/** Decodes an image file; null if the browser cannot. @param {Blob} file */
export async function fromFile(file) {
  const image = new Image(), url = URL.createObjectURL(file);
  try {
    image.src = url;
    await image.decode();
    return image;
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** @param {HTMLCanvasElement} canvas */
export function isEmpty(canvas) {
  const data = context(canvas).getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 3; i < data.length; i += 4) if (data[i] >= 128) return false;
  return true;
}
