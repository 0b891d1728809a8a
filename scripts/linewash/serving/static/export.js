// Takes the picture home: PNG, SVG, layers and the clipboard.

import { requestBody, chosen, hasColors } from "./coloring.js";
import { toFile } from "./drawing_file.js";
import { button, input, showStatus } from "./elements.js";
import { drawing, isDrawn } from "./history.js";
import { download as request } from "./server.js";
import { choices } from "./settings.js";

const MAX_PIXELS = 25_000_000; // of a file that the server makes
const SENT_SIDE = 2048; // px of the longer side of the drawing that is sent

/** The picture as a file, of the size of the opened one. What it shows is what the page shows. @param {"png"|"svg"|"ora"} format */
function render(format) {
  const { ownWidth, ownHeight } = drawing.base, scale = Math.min(1, Math.sqrt(MAX_PIXELS / (ownWidth * ownHeight)));
  const showsLines = input("show-lines").checked, showsColors = input("show-colors").checked;
  if (!showsLines && !showsColors) throw new Error("neither lines nor colours are shown: choose one of them");
  const show = showsLines && showsColors ? "picture" : showsLines ? "lines" : "colors";
  const size = { width: Math.floor(ownWidth * scale), height: Math.floor(ownHeight * scale) };
  return request(requestBody({ format, variant: chosen(), show, ...size }, SENT_SIDE));
}

/** The file's name: that of the opened picture. @param {string} extension */
const fileName = (extension) => (choices.name ? `${choices.name}-colored.${extension}` : `drawing.${extension}`);

/** @param {Blob} blob @param {string} name */
function offer(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Runs an action and shows its error. @param {() => Promise<void>} action */
async function run(action) {
  try {
    await action();
  } catch (error) {
    showStatus(/** @type {Error} */ (error).message, true);
  }
}

/** @param {"png"|"svg"|"ora"} format */
const download = (format) => run(async () => {
  const started = performance.now();
  showStatus(`writing ${fileName(format)} …`);
  offer(await render(format), fileName(format));
  showStatus(`${fileName(format)} written in ${((performance.now() - started) / 1000).toFixed(1)} s`);
});

/** Saves the drawing as a .linewash file. */
export const save = () => run(async () => {
  if (!isDrawn()) throw new Error("the page is empty: draw first");
  const name = `${choices.name || "drawing"}.linewash`;
  offer(await toFile(), name);
  showStatus(`${name} saved: it has the lines, the hints and all settings`);
});

/** Copies the picture. The clipboard takes a promise, because browsers allow it only directly after a click. */
const copy = () => run(async () => {
  if (!navigator.clipboard?.write) throw new Error("this browser copies pictures only from an encrypted or a local page: download the PNG");
  await navigator.clipboard.write([new ClipboardItem({ "image/png": render("png") })]);
  showStatus("the picture is on the clipboard");
});

for (const format of /** @type {const} */ (["png", "svg", "ora"])) button(format).addEventListener("click", () => download(format));
button("copy").addEventListener("click", () => { if (hasColors()) copy(); });
button("save").addEventListener("click", save);
