// The tools, and the colour that fills.

import { ink } from "./canvas.js";
import { $, buttonsOf, check, input, swatch } from "./elements.js";
import { emit } from "./events.js";

/** @typedef {"pen"|"fill"|"area"|"divider"|"picker"|"eraser"|"hint-eraser"} Tool */
/** @type {{tool: Tool, color: string, recent: string[], palette: string[], names: string[]}} */
export const tools = { tool: "pen", color: "#e06a30", recent: [], palette: [], names: [] };

const MAX_RECENT = 8;
/** Widths in pixels of a canvas of 1024, for the eight sizes. */
const WIDTHS = { pen: [2, 3, 4, 6, 9, 13, 19, 28], eraser: [8, 14, 22, 32, 44, 60, 80, 110] };
const DAB = 10; // width of a hint in screen pixels
const RECENT_KEY = "linewash-recent-colors";

/** The width of the tool's strokes in pixels of the canvas. @param {number} scale of the view */
export function strokeWidth(scale) {
  if (tools.tool === "fill" || tools.tool === "area") return Math.max(2, Math.min(DAB, DAB / scale));
  const relative = Math.max(ink.width, ink.height) / 1024;
  const widths = tools.tool.endsWith("eraser") ? WIDTHS.eraser : WIDTHS.pen;
  return relative * (tools.tool === "divider" ? 3 : widths[Number(input("size").value) - 1]);
}

/** @param {Tool} tool */
export function selectTool(tool) {
  tools.tool = tool;
  showTool();
}

/** Chooses the colour that fills, and the tool that fills unless an area is chosen. @param {string} color */
export function selectColor(color) {
  tools.color = color;
  if (tools.tool !== "area") tools.tool = "fill";
  showTool();
  emit("color");
}

/** Remembers a colour that was used. @param {string} color */
export function addRecent(color) {
  tools.recent = [color, ...tools.recent.filter((each) => each !== color)].slice(0, MAX_RECENT);
  localStorage.setItem(RECENT_KEY, JSON.stringify(tools.recent));
  showRecent();
}

/** The name of a colour: that of the palette, or its number. @param {string} color */
export const nameOf = (color) => tools.names[tools.palette.indexOf(color)] ?? color;

function showTool() {
  check(buttonsOf("tool"), (each) => each.dataset.tool === tools.tool);
  check(buttonsOf("palette"), (each) => each.dataset.color === tools.color);
  input("custom").value = tools.color;
  $("current-name").textContent = nameOf(tools.color);
  const stage = $("stage");
  stage.classList.toggle("pen", ["pen", "eraser", "hint-eraser", "divider"].includes(tools.tool));
  stage.classList.toggle("hinting", tools.tool === "hint-eraser");
  stage.classList.toggle("dividing", tools.tool === "divider" || tools.tool === "hint-eraser");
  emit("tool");
}

function showRecent() {
  $("recent").replaceChildren(...tools.recent.map((color) => swatch(color, nameOf(color), () => selectColor(color))));
}

/** @param {string[]} palette @param {string[]} names */
export function setUpTools(palette, names) {
  Object.assign(tools, { palette, names });
  $("palette").replaceChildren(...palette.map((color, index) => {
    const each = swatch(color, names[index], () => selectColor(color));
    each.setAttribute("role", "radio");
    return each;
  }));
  try {
    const stored = JSON.parse(localStorage.getItem(RECENT_KEY) ?? "[]");
    tools.recent = Array.isArray(stored) ? stored.filter((each) => /^#[0-9a-f]{6}$/.test(each)).slice(0, MAX_RECENT) : [];
  } catch { /* what is stored is no JSON */ }
  showRecent();
  for (const each of buttonsOf("tool")) {
    each.addEventListener("click", () => selectTool(/** @type {Tool} */ (each.dataset.tool)));
  }
  input("custom").addEventListener("input", () => selectColor(input("custom").value));
  input("size").addEventListener("input", () => emit("tool"));
  showTool();
}
