// Opens files: drawings, photos, SVGs and .linewash files, from the dialog, by drop and by paste. And the list of kept drawings.

import { blobOf, fromFile, scaled } from "./canvas.js";
import { openFile as openDrawingFile } from "./drawing_file.js";
import { $, button, dialog, input, showStatus } from "./elements.js";
import { emptyBase, isDrawn } from "./history.js";
import * as server from "./server.js";
import * as storage from "./storage.js";

const MAX_PIXELS = 12_000_000; // of a picture that is sent; larger ones are scaled down here
const MAX_BYTES = 20 << 20;
const QUALITY = 0.95;

/** Opens a file of any kind. @param {File} file */
export async function openFile(file) {
  const name = file.name || "the image";
  showStatus(`reading ${name} …`);
  try {
    if (name.toLowerCase().endsWith(".linewash")) {
      await openDrawingFile(file);
      return;
    }
    const sent = await scaledDown(file);
    let lines = await server.lines(sent.blob, "auto");
    if (lines.looksLike === "photo" && (await isPhoto())) lines = await server.lines(sent.blob, "photo");
    await openInk(lines.ink, stem(name), { width: sent.width ?? lines.width, height: sent.height ?? lines.height });
    showStatus(`lines of ${name}`);
  } catch (error) {
    showStatus(`${name}: ${/** @type {Error} */ (error).message}`, true);
  }
}

/** @param {string} name */
const stem = (name) => name.replace(/\.[^.]*$/, "");

/** Begins a drawing from lines. @param {Blob} ink @param {string} name @param {{width: number, height: number}} [own] */
async function openInk(ink, name, own) {
  const bitmap = await createImageBitmap(ink), { width, height } = bitmap;
  await storage.begin({ width, height, ownWidth: own?.width || width, ownHeight: own?.height || height, ink, hints: null, dividers: null }, { name });
}

/**
 * Scales a picture down that is too large to be sent; `width` and `height` are its own if it was.
 * @param {File} file @returns {Promise<{blob: Blob, width?: number, height?: number}>}
 */
async function scaledDown(file) {
  if (file.type === "image/svg+xml") return { blob: file };
  const image = await fromFile(file);
  if (!image) return { blob: file }; // the server reads more formats than the browser
  const { naturalWidth: width, naturalHeight: height } = image, scale = Math.sqrt(MAX_PIXELS / (width * height));
  if (scale >= 1 && file.size <= MAX_BYTES) return { blob: file };
  const type = file.type === "image/jpeg" ? "image/jpeg" : "image/png";
  const small = scaled(image, Math.max(width, height) * Math.min(1, scale));
  const blob = await blobOf(small, type, QUALITY).catch(() => null);
  return blob ? { blob, width, height } : { blob: file };
}

/** Asks whether a picture that looks like a photograph is one. @returns {Promise<boolean>} */
function isPhoto() {
  const question = dialog("photo-dialog");
  question.returnValue = "";
  question.showModal();
  return new Promise((resolve) => {
    question.addEventListener("close", () => resolve(question.returnValue === "photo"), { once: true });
  });
}

/** Begins an empty drawing, upright on an upright screen. @param {number} side of its longer side */
export async function openEmpty(side) {
  const isUpright = innerHeight > innerWidth, short = Math.round(side * 3 / 4);
  await storage.begin(isUpright ? emptyBase(short, side) : emptyBase(side, short), {});
}

let nextExample = 0;
/** @param {string[]} examples */
async function openExample(examples) {
  try {
    const name = examples[nextExample++ % examples.length];
    await openInk(await server.example(name), name);
  } catch (error) {
    showStatus(/** @type {Error} */ (error).message, true);
  }
}

// ---- the kept drawings -------------------------------------------------------------------------------

async function showDrawings() {
  const all = await storage.list();
  $("drawings-list").replaceChildren(...all.map(entry));
  if (!all.length) $("drawings-list").textContent = "There is none yet: draw something.";
  if (!dialog("drawings-dialog").open) dialog("drawings-dialog").showModal();
}

/** @param {storage.Stored} stored */
function entry(stored) {
  const element = document.createElement("div"), opener = document.createElement("button"), label = document.createElement("p"), remover = document.createElement("button");
  element.className = "drawing";
  const name = stored.choices.name || "drawing", date = new Date(stored.modified).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const image = document.createElement("img");
  image.alt = "";
  if (stored.thumbnail) {
    image.src = URL.createObjectURL(stored.thumbnail);
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  }
  opener.append(image);
  opener.setAttribute("aria-label", `Open ${name}, ${date}`);
  opener.addEventListener("click", async () => {
    if (await storage.openStored(stored)) dialog("drawings-dialog").close();
    else label.textContent = "It is open in another tab.";
  });
  label.textContent = `${name} · ${date}`;
  remover.className = "delete";
  remover.textContent = "Delete";
  remover.setAttribute("aria-label", `Delete ${name}, ${date}`);
  remover.disabled = stored.id === storage.currentId;
  remover.addEventListener("click", async () => {
    if (remover.textContent !== "Really delete?") {
      remover.textContent = "Really delete?";
      return;
    }
    await storage.remove(stored.id);
    await showDrawings();
  });
  element.append(opener, label, remover);
  return element;
}

// ---- buttons, drop and paste -------------------------------------------------------------------------

/** @param {server.Settings} settings */
export function setUpFiles(settings) {
  const chooser = input("file");
  button("open").addEventListener("click", () => { chooser.value = ""; chooser.click(); });
  chooser.addEventListener("change", () => { if (chooser.files?.[0]) openFile(chooser.files[0]); });
  button("new").addEventListener("click", () => { if (isDrawn()) openEmpty(settings.side); });
  button("example").addEventListener("click", () => openExample(settings.examples));
  button("drawings").addEventListener("click", showDrawings);
  button("drawings-close").addEventListener("click", () => dialog("drawings-dialog").close());
  button("as-drawing").addEventListener("click", () => dialog("photo-dialog").close("drawing"));
  button("as-photo").addEventListener("click", () => dialog("photo-dialog").close("photo"));
  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) openFile(file);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (file) openFile(file);
  });
}
