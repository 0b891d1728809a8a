// The page. The drawing is a list of operations. Replaying them produces the two canvases that are sent.

const $ = (id) => document.getElementById(id);
const sheet = $("sheet"), ink = $("ink"), hints = $("hints"), colors = $("colors"), cursor = $("cursor");
const SIZES = { pen: [2, 3, 4, 6, 9, 13, 19, 28], eraser: [8, 14, 22, 32, 44, 60, 80, 110], hint: [8, 12, 18, 24, 32, 42, 56, 72] };
const INK = "#221f26";
const VARIANTS = 4;
// The canvases are read after every stroke, so they are kept in main memory.
const context = (canvas) => canvas.getContext("2d", { willReadFrequently: true });
const RECOLOR_INTERVAL = 600; // ms between two colourings during a stroke
const KEY_STEP = 8; // pixels of the canvas by which an arrow key moves the pen

const state = {
  tool: "pen", color: null, side: 1024,
  done: [], undone: [], stroke: null, // operations; `stroke` is the one in progress
  seed: 0, chosen: 0, images: [], background: "auto",
  examples: [], example: 0,
};

// ---- the drawing and its operations ----------------------------------------------------------------

function setSize(width, height) {
  for (const canvas of [ink, hints, colors]) [canvas.width, canvas.height] = [width, height];
  sheet.style.aspectRatio = `${width} / ${height}`;
  sheet.style.maxWidth = `calc(72vh * ${width / height})`;
}

function emptyDrawing() {
  const upright = innerHeight > innerWidth;
  const [long, short] = [state.side, Math.round(state.side * 3 / 4)];
  return { kind: "image", image: null, width: upright ? short : long, height: upright ? long : short };
}

const canvasesOf = (stroke) => (stroke.tool === "pen" ? [ink] : stroke.tool === "hint" ? [hints] : [ink, hints]);

/** Draws a stroke from the point with index `from`, as curves through the midpoints between points. */
function paint(stroke, from = 0) {
  const points = stroke.points;
  for (const canvas of canvasesOf(stroke)) {
    const pen = context(canvas);
    pen.globalCompositeOperation = stroke.tool === "eraser" ? "destination-out" : "source-over";
    pen.strokeStyle = stroke.color;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    for (let i = from; i < points.length; i++) {
      const here = points[i], before = points[Math.max(0, i - 1)], first = points[Math.max(0, i - 2)];
      // All points of one pressure form one path: antialiased ends of several paths would show.
      if (i === from || here.pressure !== before.pressure) {
        if (i > from) pen.stroke();
        pen.lineWidth = stroke.width * here.pressure;
        pen.beginPath();
        pen.moveTo((first.x + before.x) / 2, (first.y + before.y) / 2);
      }
      pen.quadraticCurveTo(before.x, before.y, (before.x + here.x) / 2, (before.y + here.y) / 2);
    }
    pen.lineTo(points.at(-1).x, points.at(-1).y);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  }
}

/** The canvases before the stroke in progress. At its end the stroke is drawn again as one path. */
const saved = new Map([ink, hints].map((canvas) => [canvas, document.createElement("canvas")]));

function saveCanvases(stroke) {
  for (const canvas of canvasesOf(stroke)) copy(canvas, saved.get(canvas));
}

function repaint(stroke) {
  for (const canvas of canvasesOf(stroke)) copy(saved.get(canvas), canvas);
  paint(stroke);
}

function copy(from, to) {
  [to.width, to.height] = [from.width, from.height]; // also clears the canvas
  context(to).drawImage(from, 0, 0);
}

function apply(operation) {
  if (operation.kind === "stroke") return paint(operation);
  setSize(operation.width, operation.height);
  if (operation.image) context(ink).drawImage(operation.image, 0, 0);
}

function add(operation) {
  state.done.push(operation);
  state.undone = [];
  if (operation.kind !== "stroke") apply(operation);
  changed();
}

function replay() {
  const start = state.done.findLastIndex((operation) => operation.kind === "image");
  for (const operation of state.done.slice(start)) apply(operation);
}

function undo() {
  if (state.stroke || state.done.length < 2) return;
  state.undone.push(state.done.pop());
  replay();
  changed();
}

function redo() {
  if (state.stroke || !state.undone.length) return;
  state.done.push(state.undone.pop());
  replay();
  changed();
}

const isDrawn = () => {
  const last = state.done.at(-1);
  return state.stroke || (last && (last.kind === "stroke" || last.image));
};

function changed() {
  $("undo").disabled = state.done.length < 2;
  $("redo").disabled = !state.undone.length;
  sheet.classList.toggle("drawn", Boolean(isDrawn()));
  recolor();
}

// ---- strokes ---------------------------------------------------------------------------------------

function pointOf(event) {
  const box = sheet.getBoundingClientRect();
  return {
    x: (event.clientX - box.left) * ink.width / box.width,
    y: (event.clientY - box.top) * ink.height / box.height,
    pressure: event.pointerType === "pen" ? 0.4 + event.pressure : 1,
  };
}

const width = () => SIZES[state.tool][$("size").value - 1];

function begin(point, pointer) {
  state.stroke = {
    kind: "stroke", tool: state.tool, width: width(), points: [point], pointer,
    color: state.tool === "hint" ? state.color : INK,
  };
  sheet.classList.add("drawn");
  saveCanvases(state.stroke);
  paint(state.stroke);
}

let lastColored = 0;
function extend(point) {
  state.stroke.points.push(point);
  paint(state.stroke, state.stroke.points.length - 1);
  if (performance.now() - lastColored > RECOLOR_INTERVAL) recolor();
}

function end() {
  const stroke = state.stroke;
  state.stroke = null;
  if (!stroke) return;
  repaint(stroke);
  add(stroke);
}

function moveCursor(x, y) {
  const scale = sheet.clientWidth / ink.width, diameter = Math.max(4, width() * scale);
  Object.assign(cursor.style, {
    display: "block", width: `${diameter}px`, height: `${diameter}px`, left: `${x * scale}px`, top: `${y * scale}px`,
    background: state.tool === "hint" ? state.color : "transparent",
  });
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || state.stroke) return; // a second finger does not draw
  event.preventDefault();
  sheet.focus({ preventScroll: true });
  try { sheet.setPointerCapture(event.pointerId); } catch { /* the pointer has been released */ }
  begin(pointOf(event), event.pointerId);
});
sheet.addEventListener("pointermove", (event) => {
  const point = pointOf(event);
  moveCursor(point.x, point.y);
  if (state.stroke?.pointer !== event.pointerId) return;
  const all = event.getCoalescedEvents?.() ?? [];
  for (const each of all.length ? all : [event]) extend(pointOf(each));
});
for (const name of ["pointerup", "pointercancel"]) {
  sheet.addEventListener(name, (event) => { if (state.stroke?.pointer === event.pointerId) end(); });
}
sheet.addEventListener("pointerleave", () => { if (!state.stroke && !keys.here) cursor.style.display = "none"; });

// ---- drawing with the keyboard ---------------------------------------------------------------------

const keys = { x: 0, y: 0, here: false };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

sheet.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES[event.key];
  if (!move && event.key !== " " && event.key !== "Escape") return;
  event.preventDefault();
  if (!keys.here) Object.assign(keys, { x: ink.width / 2, y: ink.height / 2, here: true });
  if (move) {
    const step = KEY_STEP * (event.shiftKey ? 5 : 1);
    keys.x = Math.min(ink.width, Math.max(0, keys.x + move[0] * step));
    keys.y = Math.min(ink.height, Math.max(0, keys.y + move[1] * step));
    if (state.stroke?.pointer === "keys") extend({ x: keys.x, y: keys.y, pressure: 1 });
  } else if (state.stroke?.pointer === "keys") {
    end();
  } else if (event.key === " " && !state.stroke) {
    begin({ x: keys.x, y: keys.y, pressure: 1 }, "keys");
  }
  cursor.classList.toggle("down", state.stroke?.pointer === "keys");
  moveCursor(keys.x, keys.y);
});
sheet.addEventListener("blur", () => {
  if (state.stroke?.pointer === "keys") end();
  keys.here = false;
  cursor.classList.remove("down");
  cursor.style.display = "none";
});

// ---- requests --------------------------------------------------------------------------------------

function showStatus(text, isError = false) {
  $("status").textContent = text || "\u00a0";
  $("status").classList.toggle("error", isError);
}

/** Sends a request and returns the response; throws an Error with the message of the server. */
async function request(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("no response from the server: is it still running?");
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  throw new Error(content.error ?? `the server responded with status ${response.status}`);
}

const base64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];
const flattened = document.createElement("canvas");

/** The body of a request: the lines on white, and the hints on transparency. */
function requestBody(more) {
  [flattened.width, flattened.height] = [ink.width, ink.height];
  const canvas = context(flattened);
  canvas.fillStyle = "#fff";
  canvas.fillRect(0, 0, flattened.width, flattened.height);
  canvas.drawImage(ink, 0, 0);
  const start = state.done.findLastIndex((operation) => operation.kind === "image");
  const strokes = [...state.done.slice(start), ...(state.stroke ? [state.stroke] : [])];
  const hasHints = strokes.some((operation) => operation.tool === "hint") && hasOpaquePixels(hints);
  return JSON.stringify({
    drawing: base64(flattened), hints: hasHints ? base64(hints) : null,
    variants: state.stroke ? state.chosen + 1 : VARIANTS, seed: state.seed, background: state.background, ...more,
  });
}

function hasOpaquePixels(canvas) {
  const data = context(canvas).getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 3; i < data.length; i += 4) if (data[i] >= 128) return true;
  return false;
}

let isStale = false, isBusy = false;

/** Colours the drawing. Calls during a request are merged into one that follows it. */
async function recolor() {
  isStale = true;
  if (isBusy) return;
  isBusy = true;
  document.body.dataset.busy = "yes";
  while (isStale) {
    isStale = false;
    try {
      await colorOnce();
    } catch (error) {
      showStatus(error.message, true);
    }
  }
  isBusy = false;
  document.body.dataset.busy = "no";
  document.body.dataset.settled = Number(document.body.dataset.settled ?? 0) + 1;
}

async function colorOnce() {
  const started = lastColored = performance.now();
  const isAuto = state.background === "auto";
  const empty = { pictures: [], background: null };
  const { pictures, background } = isDrawn() ? await (await request("color", requestBody())).json() : empty;
  state.images = await Promise.all(pictures.map(loadImage));
  $("sheet").classList.toggle("transparent", background === "transparent");
  show();
  const milliseconds = Math.round(performance.now() - started);
  document.body.dataset.ms = milliseconds;
  const decision = isAuto ? `; background: ${background}` : "";
  if (pictures.length) showStatus(`coloured in ${milliseconds} ms${decision}`);
  else if (isDrawn()) showStatus("no lines detected yet: draw more");
  else showStatus("");
}

async function loadImage(data) {
  const image = new Image();
  image.src = `data:image/png;base64,${data}`;
  await image.decode();
  return image;
}

function show() {
  const chosen = Math.min(state.chosen, Math.max(0, state.images.length - 1));
  const canvas = context(colors), image = state.images[chosen];
  canvas.clearRect(0, 0, colors.width, colors.height);
  if (image) canvas.drawImage(image, 0, 0, colors.width, colors.height);
  for (const [index, button] of [...$("variants").children].entries()) {
    const preview = state.images[index];
    button.disabled = !preview;
    button.setAttribute("aria-checked", String(Boolean(preview) && index === chosen));
    button.tabIndex = preview && index === chosen ? 0 : -1;
    button.replaceChildren(...(preview ? [preview] : []));
    if (preview) preview.alt = "";
  }
  for (const id of ["png", "svg", "ora", "others"]) $(id).disabled = !image;
}

// ---- files -----------------------------------------------------------------------------------------

async function openImage(data, source, name) {
  showStatus(`reading ${name} …`);
  try {
    const response = await request(`lines?source=${source}`, data);
    await replaceDrawing(await response.blob());
    const advice = source === "drawing" ? "; for a photo of a scene, use Open photo" : "";
    showStatus(`lines of ${name}${advice}`);
  } catch (error) {
    showStatus(`${name}: ${error.message}`, true);
  }
}

async function replaceDrawing(blob) {
  const image = await createImageBitmap(blob);
  state.chosen = 0;
  add({ kind: "image", image, width: image.width, height: image.height });
}

async function openExample() {
  try {
    const name = state.examples[state.example++ % state.examples.length];
    await replaceDrawing(await (await request(`examples/${name}`)).blob());
  } catch (error) {
    showStatus(error.message, true);
  }
}

async function download(format) {
  try {
    const variant = Math.min(state.chosen, state.images.length - 1);
    const response = await request("download", requestBody({ format, variant, lines: $("lines").checked }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `drawing.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    showStatus(error.message, true);
  }
}

let source = "drawing";
function chooseFile(newSource) {
  source = newSource;
  $("file").value = "";
  $("file").click();
}

function openFile(files, kind) {
  const file = [...(files ?? [])][0];
  if (file) openImage(file, kind, file.name || "the image");
}

$("file").addEventListener("change", () => openFile($("file").files, source));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  openFile(event.dataTransfer.files, "drawing");
});
addEventListener("paste", (event) => openFile(event.clipboardData.files, "drawing"));

// ---- tools -----------------------------------------------------------------------------------------

function selectTool(tool, color = null) {
  [state.tool, state.color] = [tool, color];
  for (const button of $("tool").children) setChecked(button, button.dataset.tool === tool);
  for (const button of $("palette").children) setChecked(button, tool === "hint" && button.dataset.color === color);
  if (tool !== "hint" && $("palette").firstChild) $("palette").firstChild.tabIndex = 0;
}

function setChecked(button, isChecked) {
  button.setAttribute("aria-checked", String(isChecked));
  button.tabIndex = isChecked || button.parentElement.id === "tool" ? 0 : -1;
}

function selectBackground(background) {
  state.background = background;
  markBackground();
  recolor();
}

function markBackground() {
  for (const button of $("background").children) {
    setChecked(button, button.dataset.background === state.background);
  }
}

function selectVariant(index) {
  if (!state.images[index]) return;
  state.chosen = index;
  show();
}

/** Lets arrow keys move within a group of buttons. */
function addArrowKeys(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...group.children].filter((button) => !button.disabled);
    if (!step || !all.length) return;
    event.preventDefault();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    next.click();
  });
}

function setUp(settings) {
  state.side = settings.side;
  state.examples = settings.examples;
  $("hint-colors").hidden = !settings.hints;
  for (const [index, color] of (settings.hints ? settings.palette : []).entries()) {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `${settings.names[index]} ${color}`);
    button.title = settings.names[index];
    button.dataset.color = button.style.background = color;
    button.addEventListener("click", () => selectTool("hint", color));
    $("palette").append(button);
  }
  for (let index = 0; index < VARIANTS; index++) {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Colouring ${index + 1}`);
    button.addEventListener("click", () => selectVariant(index));
    $("variants").append(button);
  }
  selectTool("pen");
  markBackground();
  show();
  add(emptyDrawing());
}

const buttonActions = {
  open: () => chooseFile("drawing"), photo: () => chooseFile("photo"), example: openExample,
  new: () => { state.chosen = 0; add(emptyDrawing()); },
  undo, redo, png: () => download("png"), svg: () => download("svg"), ora: () => download("ora"),
  others: () => { state.seed++; recolor(); },
};
for (const [id, action] of Object.entries(buttonActions)) $(id).addEventListener("click", action);
for (const button of $("tool").children) button.addEventListener("click", () => selectTool(button.dataset.tool));
for (const button of $("background").children) {
  button.addEventListener("click", () => selectBackground(button.dataset.background));
}
for (const id of ["tool", "palette", "variants", "background"]) addArrowKeys($(id));
$("lines").addEventListener("change", () => { ink.hidden = !$("lines").checked; });
$("colored").addEventListener("change", () => { colors.hidden = hints.hidden = !$("colored").checked; });

const resize = (step) => { $("size").value = Number($("size").value) + step; };
const shortcuts = {
  p: () => selectTool("pen"), e: () => selectTool("eraser"), o: buttonActions.open, n: buttonActions.new, r: () => $("others").click(),
  "[": () => resize(-1), "]": () => resize(1),
};
addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    return key === "y" || event.shiftKey ? redo() : undo();
  }
  if (event.altKey || event.repeat) return;
  if (/^[1-4]$/.test(key)) selectVariant(Number(key) - 1);
  else if (shortcuts[key]) shortcuts[key]();
});

try {
  setUp(await (await request("about")).json());
} catch (error) {
  showStatus(error.message, true);
}
