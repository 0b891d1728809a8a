// The colours: asks the server for them after each change, and paints them from a map of regions.
// The map lets the page fill an area at once, and know what lies under the pointer.

import * as canvas from "./canvas.js";
import { $, button, buttonsOf, check, showStatus } from "./elements.js";
import { enlarge } from "./enlarge.js";
import { emit, on } from "./events.js";
import { drawing, isDrawn, locked, replacements } from "./history.js";
import * as server from "./server.js";
import { choices, isReferenceActive } from "./settings.js";

export const VARIANTS = 4;
const SENT_SIDE = 1024; // px of the longer side of a drawing that is sent to be coloured
const INTERVAL = 600; // ms between two colourings during a stroke
const SMOOTH_SIDE = 1024; // px of the width of a picture with smooth borders; it is enlarged for a larger canvas
const RETRY = 2000; // ms between two attempts to reach the server

/**
 * The last colouring. `regions` and `areas` have a number for each pixel of a map of `width` x `height`. An area is what a dab fills;
 * a region is what has one colour.
 * @type {{width: number, height: number, regions: Uint32Array, areas: Uint32Array, colors: (string|null)[][], origins: string[], likeliest: [string, number][][], background: string|null}}
 */
export let result = emptyResult();

/** Areas that were filled since the request that the server answers. @type {{version: number, mask: Uint8Array, color: string}[]} */
let fills = [];

function emptyResult() {
  const none = new Uint32Array(0);
  return { width: 0, height: 0, regions: none, areas: none, colors: [], origins: [], likeliest: [], background: null };
}

// ---- requests ----------------------------------------------------------------------------------------

/** What the server needs to colour the drawing. @param {object} [more] @param {number} [side] of the images that are sent */
export function requestBody(more = {}, side = SENT_SIDE) {
  const { stroke } = drawing;
  const optional = (/** @type {HTMLCanvasElement} */ layer) => (canvas.isEmpty(layer) ? null : canvas.base64(canvas.scaled(layer, side)));
  return {
    drawing: canvas.base64(canvas.scaled(canvas.ink, side, "#fff")),
    hints: optional(canvas.hints), dividers: optional(canvas.dividers),
    locked: locked(), replace: replacements(),
    colors: server.network.reference && isReferenceActive() ? choices.reference.colors : null,
    reference_strength: choices.strength, vivid: server.network.vivid ? choices.vivid : 0,
    variants: stroke ? choices.chosen + 1 : VARIANTS, seed: choices.seed, background: choices.background, ...more,
  };
}

let isStale = false, isBusy = false, lastStarted = 0;

/** Colours the drawing. Calls during a request are merged into one that follows it. */
export async function recolor() {
  isStale = true;
  if (isBusy) return;
  isBusy = true;
  document.body.dataset.busy = "yes";
  while (isStale) {
    isStale = false;
    try {
      await colorOnce();
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      showStatus(message, true);
      if (error instanceof server.Unreachable) setTimeout(recolor, RETRY);
    }
  }
  isBusy = false;
  document.body.dataset.busy = "no";
  document.body.dataset.settled = String(Number(document.body.dataset.settled ?? 0) + 1);
}

/** Colours during a stroke, not too often. */
export function recolorInStroke() {
  if (performance.now() - lastStarted > INTERVAL) recolor();
}

async function colorOnce() {
  const started = lastStarted = performance.now();
  const { version } = drawing, isAuto = choices.background === "auto";
  const answer = isDrawn() ? await server.color(requestBody()) : null;
  result = answer?.regions && answer.areas ? await decode(answer) : emptyResult();
  fills = fills.filter((fill) => fill.version > version);
  emit("colored");
  const milliseconds = Math.round(performance.now() - started);
  document.body.dataset.ms = String(milliseconds);
  const decision = isAuto ? `; background: ${result.background}` : "";
  if (result.width) showStatus(`coloured in ${milliseconds} ms${decision}`);
  else showStatus(isDrawn() ? "no lines detected yet: draw more" : "");
}

/** @param {server.Coloring} answer */
async function decode(answer) {
  const [regions, areas] = await Promise.all([numbersOf(/** @type {string} */ (answer.regions)), numbersOf(/** @type {string} */ (answer.areas))]);
  const { colors, origins, likeliest, background } = answer;
  return { width: regions.width, height: regions.height, regions: regions.numbers, areas: areas.numbers, colors, origins, likeliest, background };
}

/** Reads the numbers of a map: red + 256 green + 65536 blue. @param {string} png */
async function numbersOf(png) {
  const image = await canvas.fromBase64(png);
  const small = document.createElement("canvas");
  [small.width, small.height] = [image.width, image.height];
  canvas.context(small).drawImage(image, 0, 0);
  const data = canvas.context(small).getImageData(0, 0, small.width, small.height).data;
  const numbers = new Uint32Array(small.width * small.height);
  for (let i = 0; i < numbers.length; i++) numbers[i] = data[4 * i] + 256 * data[4 * i + 1] + 65536 * data[4 * i + 2];
  return { numbers, width: small.width, height: small.height };
}

// ---- painting ----------------------------------------------------------------------------------------

/** The colour of a hex string as a pixel of ImageData. @param {string|null} hex @param {number} [alpha] */
function pixelOf(hex, alpha = 255) {
  if (hex === null) return 0;
  const rgb = parseInt(hex.slice(1), 16);
  return ((alpha << 24) | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
}

/** The colour of each region in a variant, with the fills that the server does not know yet. @param {number} variant */
function colorsOf(variant) {
  const colors = [...result.colors[variant]];
  for (const { mask, color } of fills) {
    if (mask.length !== result.regions.length) continue;
    const balance = new Int32Array(colors.length); // a region is filled if most of it is
    for (let i = 0; i < mask.length; i++) balance[result.regions[i]] += mask[i] ? 1 : -1;
    for (let region = 0; region < colors.length; region++) if (balance[region] > 0) colors[region] = color;
  }
  return colors;
}

/** The picture of a variant at the size of the map, without lines. @param {number} variant */
export function picture(variant) {
  const { width, height, regions } = result;
  const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const table = colorsOf(variant).map((color) => pixelOf(color));
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[regions[i]];
  return canvasOf(image);
}

/** @param {ImageData} image */
function canvasOf(image) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [image.width, image.height];
  canvas.context(small).putImageData(image, 0, 0);
  return small;
}

/** The map of regions that `enlarged` is of. */
let enlargedFrom = result.regions;
/** @type {import("./enlarge.js").Enlarged|null} */
let enlarged = null;

/** The picture of a variant at about the size of the canvas, with smooth borders. @param {number} variant */
function smoothPicture(variant) {
  const { width, height, regions } = result, scale = Math.max(1, Math.min(SMOOTH_SIDE, canvas.ink.width) / width);
  if (!enlarged || enlargedFrom !== regions) enlarged = enlarge(regions, width, height, Math.round(width * scale), Math.round(height * scale));
  enlargedFrom = regions;
  const image = new ImageData(enlarged.width, enlarged.height), pixels = new Uint32Array(image.data.buffer);
  const { numbers, at, others, shares } = enlarged, table = colorsOf(variant).map((color) => pixelOf(color));
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[numbers[i]];
  for (let i = 0; i < at.length; i++) pixels[at[i]] = mixed(table[numbers[at[i]]], table[others[i]], shares[i]);
  return canvasOf(image);
}

/** A mixture of two pixels of ImageData; the transparent one has no colour. @param {number} pixel @param {number} other @param {number} share of the other, of 255 */
function mixed(pixel, other, share) {
  if (!pixel) return other ? (other & 0xffffff | share << 24) >>> 0 : 0;
  if (!other) return (pixel & 0xffffff | (255 - share) << 24) >>> 0;
  const channel = (/** @type {number} */ shift) => Math.round(((pixel >>> shift & 255) * (255 - share) + (other >>> shift & 255) * share) / 255) << shift;
  return (255 << 24 | channel(16) | channel(8) | channel(0)) >>> 0;
}

/**
 * The shown colours for a lock. A seam of transparent pixels parts neighbouring regions, so that two of one colour
 * stay two.
 */
export function lockedPicture() {
  const { width, regions } = result, locked = picture(chosen()), pen = canvas.context(locked);
  const image = pen.getImageData(0, 0, width, locked.height);
  for (let i = 0; i < regions.length; i++) {
    const isAtSeam = (i % width < width - 1 && regions[i] !== regions[i + 1]) || (i + width < regions.length && regions[i] !== regions[i + width]);
    if (isAtSeam) image.data[4 * i + 3] = 0;
  }
  pen.putImageData(image, 0, 0);
  return locked;
}

/** The number of the variant that is shown. */
export const chosen = () => Math.max(0, Math.min(choices.chosen, result.colors.length - 1));
export const hasColors = () => result.colors.length > 0;

function show() {
  const pen = canvas.context(canvas.colors);
  pen.clearRect(0, 0, canvas.colors.width, canvas.colors.height);
  pen.imageSmoothingQuality = "high";
  if (hasColors()) pen.drawImage(smoothPicture(chosen()), 0, 0, canvas.colors.width, canvas.colors.height);
  $("sheet").classList.toggle("transparent", result.background === "transparent");
  for (const [index, each] of buttonsOf("variants").entries()) {
    each.disabled = index >= result.colors.length;
    each.replaceChildren(...(each.disabled ? [] : [picture(index)]));
  }
  check(buttonsOf("variants"), (each) => hasColors() && buttonsOf("variants").indexOf(/** @type {HTMLButtonElement} */ (each)) === chosen());
  for (const id of ["png", "svg", "ora", "copy", "others", "lock"]) button(id).disabled = !hasColors();
}

/** Shows another of the colourings. @param {number} index */
export function choose(index) {
  if (index >= result.colors.length) return;
  choices.chosen = index;
  emit("colored");
}

on("changed", recolor);
on("colored", show);

// ---- what lies under a point -------------------------------------------------------------------------

/** The index in the maps of a point of the canvas, or -1. @param {{x: number, y: number}} point */
export function indexAt(point) {
  const column = Math.floor(point.x * result.width / canvas.ink.width), row = Math.floor(point.y * result.height / canvas.ink.height);
  const isInside = column >= 0 && row >= 0 && column < result.width && row < result.height;
  return isInside ? row * result.width + column : -1;
}

/**
 * The part that a dab fills: 1 for its pixels of the map. Where hints share an area it is the region, otherwise the area.
 * @param {{x: number, y: number}} point @returns {Uint8Array|null}
 */
export function maskAt(point) {
  const index = indexAt(point);
  if (index < 0) return null;
  const map = result.origins[result.regions[index]] === "hint" ? result.regions : result.areas;
  return Uint8Array.from(map, (number) => (number === map[index] ? 1 : 0));
}

/** The colour that is shown at a point; null on a transparent background. @param {{x: number, y: number}} point @returns {string|null} */
export function colorAt(point) {
  const index = indexAt(point);
  if (index < 0) return null;
  return colorsOf(chosen())[result.regions[index]];
}

/** Paints the part under a dab before the server answers. @param {{x: number, y: number}} point @param {string} color */
export function fillAtOnce(point, color) {
  const mask = maskAt(point);
  if (!mask) return;
  fills.push({ version: drawing.version + 1, mask, color }); // of the change that follows
  show();
}

/** The pixel of a highlight. @param {string} color @param {number} alpha */
export const translucent = (color, alpha) => pixelOf(color, alpha);
