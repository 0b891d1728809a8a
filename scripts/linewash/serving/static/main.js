// Sets up the page. The data flow: pointer and files → history → canvas layers → coloring → the picture; storage keeps it.

import * as canvas from "./canvas.js";
import { choose, recolor, VARIANTS } from "./coloring.js";
import { $, addArrowKeys, button, buttonsOf, check, dialog, input, showStatus } from "./elements.js";
import { on } from "./events.js";
import "./export.js";
import { openEmpty, setUpFiles } from "./files.js";
import { toggleLock } from "./hints.js";
import { changed, drawing, isDrawn, redo, undo } from "./history.js";
import "./pointer.js";
import { setUpReference } from "./reference.js";
import { about } from "./server.js";
import { choices } from "./settings.js";
import { restore, setUpStorage } from "./storage.js";
import { selectTool, setUpTools } from "./tools.js";
import { fit, zoomIn, zoomOut } from "./zoom.js";

function showHistory() {
  button("undo").disabled = !drawing.done.length;
  button("redo").disabled = !drawing.undone.length;
  $("stage").classList.toggle("drawn", isDrawn());
}

function showBackground() {
  check(buttonsOf("background"), (each) => each.dataset.background === choices.background);
}

function setUpBackground() {
  for (const each of buttonsOf("background")) {
    each.addEventListener("click", () => {
      choices.background = /** @type {import("./settings.js").Background} */ (each.dataset.background);
      showBackground();
      changed();
    });
  }
}

/** Lets a slider change one of the choices. @param {"strength"|"vivid"} name @param {(value: number) => string} format */
function setUpSlider(name, format) {
  const slider = input(name);
  const show = () => {
    slider.value = String(choices[name]);
    slider.ariaValueText = $(`${name}-value`).textContent = format(choices[name]);
  };
  slider.addEventListener("input", () => {
    choices[name] = Number(slider.value);
    show();
    changed();
  });
  on("opened", show);
}

function setUpVariants() {
  for (let index = 0; index < VARIANTS; index++) {
    const each = document.createElement("button");
    each.setAttribute("role", "radio");
    each.setAttribute("aria-label", `Colouring ${index + 1}`);
    each.addEventListener("click", () => choose(index));
    $("variants").append(each);
  }
  button("others").addEventListener("click", () => { choices.seed++; recolor(); });
}

/** The switches of what is shown, here and in downloads. */
function setUpSwitches() {
  input("show-lines").addEventListener("change", () => { canvas.ink.hidden = !input("show-lines").checked; });
  input("show-colors").addEventListener("change", () => {
    canvas.colors.hidden = canvas.hints.hidden = !input("show-colors").checked;
  });
}

function setUpHelp() {
  button("help").addEventListener("click", () => dialog("help-dialog").showModal());
  button("help-close").addEventListener("click", () => dialog("help-dialog").close());
}

/** @param {number} step */
function resize(step) {
  input("size").value = String(Number(input("size").value) + step);
  input("size").dispatchEvent(new Event("input"));
}

/** @type {Record<string, () => void>} */
const SHORTCUTS = {
  p: () => selectTool("pen"), f: () => selectTool("fill"), a: () => selectTool("area"), d: () => selectTool("divider"),
  i: () => selectTool("picker"), e: () => selectTool("eraser"), h: () => selectTool("hint-eraser"),
  o: () => button("open").click(), n: () => button("new").click(), r: () => button("others").click(), l: toggleLock,
  "[": () => resize(-1), "]": () => resize(1), "+": zoomIn, "=": zoomIn, "-": zoomOut, 0: fit, "?": () => button("help").click(),
};

addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(), isTyping = /** @type {HTMLElement} */ (event.target).matches?.("input[type=text], input[type=color]");
  if (document.querySelector("dialog[open]") || isTyping) return;
  if (event.ctrlKey || event.metaKey) {
    const action = { z: event.shiftKey ? redo : undo, y: redo, s: () => button("save").click() }[key];
    if (!action) return;
    event.preventDefault();
    action();
  } else if (!event.altKey && !event.repeat) {
    if (/^[1-4]$/.test(key)) choose(Number(key) - 1);
    else SHORTCUTS[key]?.();
  }
});

async function start() {
  const settings = await about();
  setUpTools(settings.palette, settings.names);
  setUpReference(settings.reference);
  setUpBackground();
  setUpSlider("strength", (value) => `${Math.round(100 * value)} %`);
  setUpSlider("vivid", (value) => value.toFixed(2));
  $("vivid-section").hidden = !settings.vivid;
  setUpVariants();
  setUpSwitches();
  setUpHelp();
  setUpFiles(settings);
  for (const id of ["tool", "palette", "variants", "background"]) addArrowKeys(id);
  button("undo").addEventListener("click", undo);
  button("redo").addEventListener("click", redo);
  on("changed", showHistory);
  on("opened", showBackground);
  setUpStorage((message) => showStatus(message, true));
  if (!(await restore().catch(() => false))) await openEmpty(settings.side);
}

start().catch((error) => showStatus(error.message, true));
