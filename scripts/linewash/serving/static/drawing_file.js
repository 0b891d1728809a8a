// .linewash files: a ZIP of the drawing's layers and settings.json.

import * as canvas from "./canvas.js";
import { pack, unpack } from "./archive.js";
import { drawing, locked, replacements } from "./history.js";
import { choices } from "./settings.js";
import { begin } from "./storage.js";

const VERSION = 1;
const MAX_SIDE = 4096; // px, twice that of any page: the browser keeps five canvases of this size
const MAX_REPLACED = 1024, MAX_COLORS = 64; // replaced colours, and colours of a reference, that the server takes
const LAYERS = /** @type {const} */ (["ink", "hints", "dividers"]);

// ---- what settings.json may hold ---------------------------------------------------------------------

/** @typedef {{isValid: (value: any) => boolean, expected: string}} Rule */

const isColor = (/** @type {any} */ value) => typeof value === "string" && /^#[0-9a-f]{6}$/.test(value);
const isNumber = (/** @type {any} */ value, /** @type {number} */ low, /** @type {number} */ high) => typeof value === "number" && value >= low && value <= high;
/** @param {any} value @param {number} longest @param {(pair: any) => boolean} isPair */
const isList = (value, longest, isPair) => Array.isArray(value) && value.length <= longest && value.every((pair) => Array.isArray(pair) && pair.length === 2 && isPair(pair));
const isPng = (/** @type {any} */ value) => typeof value === "string" && /^[A-Za-z0-9+/]+=*$/.test(value);

/** @param {number} low @param {number} high @returns {Rule} */
const number = (low, high) => ({ isValid: (value) => isNumber(value, low, high), expected: `a number from ${low} to ${high}` });
/** @param {number} low @param {number} high @returns {Rule} */
const whole = (low, high) => ({ isValid: (value) => isNumber(value, low, high) && Number.isInteger(value), expected: `a whole number from ${low} to ${high}` });
/** @type {Rule} */
const object = { isValid: (value) => typeof value === "object" && value !== null && !Array.isArray(value), expected: "an object" };
/** @type {Rule} */
const text = { isValid: (value) => typeof value === "string", expected: "a text" };
/** @param {Rule} rule @returns {Rule} */
const optional = (rule) => ({ isValid: (value) => value === undefined || rule.isValid(value), expected: rule.expected });
/** @param {Rule} rule @returns {Rule} */
const nullable = (rule) => ({ isValid: (value) => value === null || rule.isValid(value), expected: `null or ${rule.expected}` });
/** @param {string[]} values @returns {Rule} */
const oneOf = (values) => ({ isValid: (value) => values.includes(value), expected: `one of ${values.join(", ")}` });

/** The fields that are used, by their path. @type {Record<string, Rule>} */
const RULES = {
  version: { isValid: (value) => value === VERSION, expected: `${VERSION} (for a later one, use a newer linewash)` },
  width: whole(1, MAX_SIDE), height: whole(1, MAX_SIDE), ownWidth: whole(1, 1e6), ownHeight: whole(1, 1e6),
  replace: { isValid: (value) => isList(value, MAX_REPLACED, (pair) => pair.every(isColor)), expected: `a list of up to ${MAX_REPLACED} pairs of colours like "#f4c542"` },
  locked: nullable({ isValid: isPng, expected: "a PNG in base64" }),
  choices: object,
  "choices.name": optional(text),
  "choices.background": optional(oneOf(["auto", "paper", "paint", "transparent"])),
  "choices.seed": optional(whole(0, 2 ** 31)),
  "choices.chosen": optional(whole(0, 3)),
  "choices.strength": optional(number(0, 1)),
  "choices.vivid": optional(number(0, 3)),
  "choices.reference": optional(object),
  "choices.reference.on": optional(oneOf(/** @type {any} */ ([true, false]))),
  "choices.reference.name": optional(text),
  "choices.reference.thumbnail": optional(nullable({ isValid: (value) => typeof value === "string" && value.startsWith("data:image/png;base64,"), expected: "a PNG as a data: URL" })),
  "choices.reference.colors": optional({
    isValid: (value) => isList(value, MAX_COLORS, ([color, weight]) => isColor(color) && isNumber(weight, Number.MIN_VALUE, Number.MAX_VALUE)),
    expected: `a list of up to ${MAX_COLORS} pairs of a colour like "#f4c542" and a weight above 0`,
  }),
};
const MAX_SHOWN = 40; // characters of a wrong value in a message

/** Throws an Error that names the first wrong field. @param {any} settings */
function check(settings) {
  for (const [path, { isValid, expected }] of Object.entries(RULES)) {
    const value = path.split(".").reduce((parent, key) => parent?.[key], settings);
    if (isValid(value)) continue;
    const found = value === undefined ? `no ${path}` : `${path} ${JSON.stringify(value).slice(0, MAX_SHOWN)}`;
    throw new Error(`settings.json in the file has ${found}, but ${expected} is expected`);
  }
}

// ---- writing and reading -----------------------------------------------------------------------------

/** The drawing on the page as a .linewash file. @returns {Promise<Blob>} */
export async function toFile() {
  const files = new Map(), { base } = drawing;
  for (const name of LAYERS) {
    files.set(`${name}.png`, new Uint8Array(await (await canvas.blobOf(canvas[name])).arrayBuffer()));
  }
  const settings = {
    version: VERSION, width: base.width, height: base.height, ownWidth: base.ownWidth, ownHeight: base.ownHeight,
    choices, replace: replacements(), locked: locked(),
  };
  files.set("settings.json", new TextEncoder().encode(JSON.stringify(settings, null, 1)));
  return pack(files);
}

/**
 * Puts the drawing of a .linewash file on the page. Nothing changes if it throws an Error: the file is damaged,
 * or a value in it is wrong.
 * @param {Blob} file
 */
export async function openFile(file) {
  const files = await unpack(file), settings = readSettings(files.get("settings.json"));
  const { width, height, ownWidth, ownHeight, replace } = settings;
  /** @type {import("./history.js").Base} */
  const base = { width, height, ownWidth, ownHeight, ink: null, hints: null, dividers: null };
  for (const name of LAYERS) base[name] = await readPng(`${name}.png`, files.get(`${name}.png`));
  /** @type {import("./history.js").Operation[]} */
  const operations = replace.map((/** @type {[string, string]} */ [from, to]) => ({ kind: "replace", from, to }));
  if (settings.locked) {
    await canvas.fromBase64(settings.locked).catch(() => { throw new Error("locked in settings.json is no PNG"); });
    operations.push({ kind: "lock", image: settings.locked });
  }
  await begin(base, settings.choices, operations);
}

/** @param {Uint8Array|undefined} json */
function readSettings(json) {
  if (!json) throw new Error("the file has no settings.json: it is no .linewash file");
  let settings;
  try {
    settings = JSON.parse(new TextDecoder().decode(json));
  } catch {
    throw new Error("settings.json in the file is no JSON");
  }
  check(settings);
  return settings;
}

/** @param {string} name @param {Uint8Array|undefined} data @returns {Promise<Blob|null>} */
async function readPng(name, data) {
  if (!data) return null;
  const blob = new Blob([/** @type {BlobPart} */ (data)], { type: "image/png" });
  await createImageBitmap(blob).catch(() => { throw new Error(`${name} in the file is no PNG`); });
  return blob;
}
