// The page: what is drawn is a list of operations; the list makes the two canvases, and these are what is sent.

const $ = (id) => document.getElementById(id);
const sheet = $("sheet"), ink = $("ink"), hints = $("hints"), colors = $("colors"), cursor = $("cursor");
const SIZES = { pen: [2, 3, 4, 6, 9, 13, 19, 28], eraser: [8, 14, 22, 32, 44, 60, 80, 110], dab: [8, 12, 18, 24, 32, 42, 56, 72] };
const INK = "#221f26";
const VARIANTS = 4;
// They are read after every stroke: kept where the processor is.
const context = (canvas) => canvas.getContext("2d", { willReadFrequently: true });
const WHILE_DRAWING = 600; // ms between two colourings of a stroke that is still being drawn
const STEP = 8; // pixels of the page that an arrow key moves the pen

const state = {
  tool: "pen", color: null, side: 1024,
  done: [], undone: [], stroke: null, // operations; `stroke` is being drawn
  seed: 0, chosen: 0, pictures: [],
  examples: [], example: 0,
};

// ---- the page and its operations ------------------------------------------------------------------

function setSize(width, height) {
  for (const canvas of [ink, hints, colors]) [canvas.width, canvas.height] = [width, height];
  sheet.style.aspectRatio = `${width} / ${height}`;
  sheet.style.maxWidth = `calc(72vh * ${width / height})`;
}

function emptyPage() {
  const upright = innerHeight > innerWidth;
  const [long, short] = [state.side, Math.round(state.side * 3 / 4)];
  return { kind: "page", picture: null, width: upright ? short : long, height: upright ? long : short };
}

const canvasesOf = (stroke) => (stroke.tool === "pen" ? [ink] : stroke.tool === "dab" ? [hints] : [ink, hints]);

/** Draws a stroke from point `from` on; curves pass through the middles between points. */
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
      // One path for all points of one pressure: its soft rims would show where pieces overlap.
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

/** What was on the canvases before the stroke that is being drawn: at its end it is drawn anew, in one piece. */
const before = new Map([ink, hints].map((canvas) => [canvas, document.createElement("canvas")]));

function keep(stroke) {
  for (const canvas of canvasesOf(stroke)) copy(canvas, before.get(canvas));
}

function repaint(stroke) {
  for (const canvas of canvasesOf(stroke)) copy(before.get(canvas), canvas);
  paint(stroke);
}

function copy(from, to) {
  [to.width, to.height] = [from.width, from.height]; // which also empties it
  context(to).drawImage(from, 0, 0);
}

function perform(operation) {
  if (operation.kind === "stroke") return paint(operation);
  setSize(operation.width, operation.height);
  if (operation.picture) context(ink).drawImage(operation.picture, 0, 0);
}

function add(operation) {
  state.done.push(operation);
  state.undone = [];
  if (operation.kind !== "stroke") perform(operation);
  changed();
}

function replay() {
  const start = state.done.findLastIndex((operation) => operation.kind === "page");
  for (const operation of state.done.slice(start)) perform(operation);
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
  return state.stroke || (last && (last.kind === "stroke" || last.picture));
};

function changed() {
  $("undo").disabled = state.done.length < 2;
  $("redo").disabled = !state.undone.length;
  sheet.classList.toggle("drawn", Boolean(isDrawn()));
  recolor();
}

// ---- strokes --------------------------------------------------------------------------------------

function place(event) {
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
    color: state.tool === "dab" ? state.color : INK,
  };
  sheet.classList.add("drawn");
  keep(state.stroke);
  paint(state.stroke);
}

let lastColored = 0;
function extend(point) {
  state.stroke.points.push(point);
  paint(state.stroke, state.stroke.points.length - 1);
  if (performance.now() - lastColored > WHILE_DRAWING) recolor();
}

function end() {
  const stroke = state.stroke;
  state.stroke = null;
  if (!stroke) return;
  repaint(stroke);
  add(stroke);
}

function moveCursor(x, y) {
  const scale = sheet.clientWidth / ink.width, wide = Math.max(4, width() * scale);
  Object.assign(cursor.style, {
    display: "block", width: `${wide}px`, height: `${wide}px`, left: `${x * scale}px`, top: `${y * scale}px`,
    background: state.tool === "dab" ? state.color : "transparent",
  });
}

sheet.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || state.stroke) return; // a second finger draws nothing
  event.preventDefault();
  sheet.focus({ preventScroll: true });
  try { sheet.setPointerCapture(event.pointerId); } catch { /* it has gone already */ }
  begin(place(event), event.pointerId);
});
sheet.addEventListener("pointermove", (event) => {
  const at = place(event);
  moveCursor(at.x, at.y);
  if (state.stroke?.pointer !== event.pointerId) return;
  const all = event.getCoalescedEvents?.() ?? [];
  for (const one of all.length ? all : [event]) extend(place(one));
});
for (const name of ["pointerup", "pointercancel"]) {
  sheet.addEventListener(name, (event) => { if (state.stroke?.pointer === event.pointerId) end(); });
}
sheet.addEventListener("pointerleave", () => { if (!state.stroke && !keys.here) cursor.style.display = "none"; });

// ---- drawing with the keyboard --------------------------------------------------------------------

const keys = { x: 0, y: 0, here: false };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

sheet.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const move = MOVES[event.key];
  if (!move && event.key !== " " && event.key !== "Escape") return;
  event.preventDefault();
  if (!keys.here) Object.assign(keys, { x: ink.width / 2, y: ink.height / 2, here: true });
  if (move) {
    const step = STEP * (event.shiftKey ? 5 : 1);
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

// ---- asking for colours ---------------------------------------------------------------------------

function say(sentence, wrong = false) {
  $("status").textContent = sentence || "\u00a0";
  $("status").classList.toggle("wrong", wrong);
}

/** The answer to a request; its sentence, as an Error, if it was refused. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("no answer from linewash: is scripts/serve.py still running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error ?? `linewash answered ${answer.status}`);
}

const base64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];
const paper = document.createElement("canvas");

function question(more) {
  [paper.width, paper.height] = [ink.width, ink.height];
  const page = context(paper);
  page.fillStyle = "#fff";
  page.fillRect(0, 0, paper.width, paper.height);
  page.drawImage(ink, 0, 0);
  const start = state.done.findLastIndex((operation) => operation.kind === "page");
  const strokes = [...state.done.slice(start), ...(state.stroke ? [state.stroke] : [])];
  const dabbed = strokes.some((operation) => operation.tool === "dab") && hasInk(hints);
  return JSON.stringify({
    drawing: base64(paper), hints: dabbed ? base64(hints) : null,
    variants: state.stroke ? state.chosen + 1 : VARIANTS, seed: state.seed, ...more,
  });
}

function hasInk(canvas) {
  const data = context(canvas).getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 3; i < data.length; i += 4) if (data[i] >= 128) return true;
  return false;
}

let wanted = false, asking = false;

/** Colours what is drawn now; while an answer is awaited, only the newest wish is kept. */
async function recolor() {
  wanted = true;
  if (asking) return;
  asking = true;
  document.body.dataset.asking = "yes";
  while (wanted) {
    wanted = false;
    try {
      await colorOnce();
    } catch (error) {
      say(error.message, true);
    }
  }
  asking = false;
  document.body.dataset.asking = "no";
  document.body.dataset.settled = Number(document.body.dataset.settled ?? 0) + 1;
}

async function colorOnce() {
  const began = lastColored = performance.now();
  const found = isDrawn() ? (await (await ask("color", question())).json()).pictures : [];
  state.pictures = await Promise.all(found.map(loaded));
  show();
  const took = Math.round(performance.now() - began);
  document.body.dataset.ms = took;
  if (found.length) say(`coloured in ${took} ms`);
  else if (isDrawn()) say("draw a little more: there is no line yet that can be seen");
  else say("");
}

async function loaded(data) {
  const image = new Image();
  image.src = `data:image/png;base64,${data}`;
  await image.decode();
  return image;
}

function show() {
  const chosen = Math.min(state.chosen, Math.max(0, state.pictures.length - 1));
  const board = context(colors), picture = state.pictures[chosen];
  board.clearRect(0, 0, colors.width, colors.height);
  if (picture) board.drawImage(picture, 0, 0, colors.width, colors.height);
  for (const [index, button] of [...$("variants").children].entries()) {
    const one = state.pictures[index];
    button.disabled = !one;
    button.setAttribute("aria-checked", String(Boolean(one) && index === chosen));
    button.tabIndex = one && index === chosen ? 0 : -1;
    button.replaceChildren(...(one ? [one] : []));
    if (one) one.alt = "";
  }
  for (const id of ["png", "ora", "others"]) $(id).disabled = !picture;
}

// ---- files ----------------------------------------------------------------------------------------

async function openPicture(data, source, name) {
  say(`reading ${name} …`);
  try {
    const answer = await ask(`lines?source=${source}`, data);
    await lay(await answer.blob());
    const hint = source === "drawing" ? " If it is a photograph, take Open photo." : "";
    say(`these are the lines of ${name}.${hint}`);
  } catch (error) {
    say(`${name}: ${error.message}`, true);
  }
}

async function lay(blob) {
  const picture = await createImageBitmap(blob);
  state.chosen = 0;
  add({ kind: "page", picture, width: picture.width, height: picture.height });
}

async function openExample() {
  try {
    const name = state.examples[state.example++ % state.examples.length];
    await lay(await (await ask(`examples/${name}`)).blob());
  } catch (error) {
    say(error.message, true);
  }
}

async function download(format) {
  try {
    const variant = Math.min(state.chosen, state.pictures.length - 1);
    const answer = await ask("download", question({ format, variant, lines: $("lines").checked }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `drawing.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    say(error.message, true);
  }
}

let source = "drawing";
function choose(what) {
  source = what;
  $("file").value = "";
  $("file").click();
}

function accept(list, as) {
  const file = [...(list ?? [])][0];
  if (file) openPicture(file, as, file.name || "the picture");
}

$("file").addEventListener("change", () => accept($("file").files, source));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  accept(event.dataTransfer.files, "drawing");
});
addEventListener("paste", (event) => accept(event.clipboardData.files, "drawing"));

// ---- tools ----------------------------------------------------------------------------------------

function take(tool, color = null) {
  [state.tool, state.color] = [tool, color];
  for (const button of $("tool").children) check(button, button.dataset.tool === tool);
  for (const button of $("palette").children) check(button, tool === "dab" && button.dataset.color === color);
  if (tool !== "dab" && $("palette").firstChild) $("palette").firstChild.tabIndex = 0;
}

function check(button, on) {
  button.setAttribute("aria-checked", String(on));
  button.tabIndex = on || button.parentElement.id === "tool" ? 0 : -1;
}

function pick(index) {
  if (!state.pictures[index]) return;
  state.chosen = index;
  show();
}

/** Arrow keys move within a group, as everywhere. */
function arrows(group) {
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

/** What a colour is called, for those who do not see it: from hue, saturation and lightness. */
function colorName(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  const high = Math.max(r, g, b), low = Math.min(r, g, b), range = high - low, light = (high + low) / 2;
  const tone = light < 0.3 ? "dark " : light > 0.75 ? "light " : "";
  if (range < 0.1) return light < 0.12 ? "black" : light > 0.93 ? "white" : `${tone}grey`;
  const turn = high === r ? ((g - b) / range + 6) % 6 : high === g ? (b - r) / range + 2 : (r - g) / range + 4;
  const names = ["red", "orange", "yellow", "lime", "green", "mint", "cyan", "sky blue", "blue", "violet", "magenta", "pink"];
  return tone + names[Math.round(turn * 2) % 12];
}

function furnish(about) {
  state.side = about.side;
  state.examples = about.examples;
  $("dabs").hidden = !about.hints;
  for (const color of about.hints ? about.palette : []) {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `${colorName(color)} ${color}`);
    button.title = colorName(color);
    button.dataset.color = button.style.background = color;
    button.addEventListener("click", () => take("dab", color));
    $("palette").append(button);
  }
  for (let index = 0; index < VARIANTS; index++) {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Colouring ${index + 1}`);
    button.addEventListener("click", () => pick(index));
    $("variants").append(button);
  }
  take("pen");
  show();
  add(emptyPage());
}

const clickers = {
  open: () => choose("drawing"), photo: () => choose("photo"), example: openExample,
  new: () => { state.chosen = 0; add(emptyPage()); },
  undo, redo, png: () => download("png"), ora: () => download("ora"),
  others: () => { state.seed++; recolor(); },
};
for (const [id, act] of Object.entries(clickers)) $(id).addEventListener("click", act);
for (const button of $("tool").children) button.addEventListener("click", () => take(button.dataset.tool));
for (const id of ["tool", "palette", "variants"]) arrows($(id));
$("lines").addEventListener("change", () => { ink.hidden = !$("lines").checked; });
$("colored").addEventListener("change", () => { colors.hidden = hints.hidden = !$("colored").checked; });

const resize = (step) => { $("size").value = Number($("size").value) + step; };
const shortcuts = {
  p: () => take("pen"), e: () => take("eraser"), o: clickers.open, n: clickers.new, r: () => $("others").click(),
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
  if (/^[1-4]$/.test(key)) pick(Number(key) - 1);
  else if (shortcuts[key]) shortcuts[key]();
});

try {
  furnish(await (await ask("about")).json());
} catch (error) {
  say(error.message, true);
}
