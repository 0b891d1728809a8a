// Keeps drawings in the browser (IndexedDB) after each change.

import * as canvas from "./canvas.js";
import { chosen, hasColors, picture } from "./coloring.js";
import { on } from "./events.js";
import { drawing, isDrawn, open } from "./history.js";
import { choices, setChoices } from "./settings.js";

/**
 * @typedef {import("./history.js").Base} Base
 * @typedef {import("./history.js").Operation} Operation
 * @typedef {{id: string, modified: number, base: Base, operations: Operation[], undone?: Operation[], choices: import("./settings.js").Choices, thumbnail: Blob|null}} Stored  drawings of older versions lack `undone`
 */
const DATABASE = "linewash", STORE = "drawings", CURRENT_KEY = "linewash-current";
const DELAY = 300; // ms from a change to its being stored
const THUMBNAIL_SIDE = 240;
const ANSWER_TIME = 120; // ms that other tabs have to say which drawing they show

/** The drawing on the page. */
export let currentId = newId();

function newId() {
  return Date.now().toString(36) + Math.random().toString(36).slice(2, 10);
}

// ---- the database ------------------------------------------------------------------------------------

/** @type {Promise<IDBDatabase>|null} */
let database = null;

function openDatabase() {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return database;
}

/** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} action @returns {Promise<T>} */
async function withStore(mode, action) {
  const transaction = (await openDatabase()).transaction(STORE, mode), request = action(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** All kept drawings, the latest first. @returns {Promise<Stored[]>} */
export async function list() {
  const all = /** @type {Stored[]} */ (await withStore("readonly", (store) => store.getAll()));
  return all.sort((a, b) => b.modified - a.modified);
}

/** @param {string} id */
export const remove = (id) => withStore("readwrite", (store) => store.delete(id));

// ---- keeping the drawing on the page -----------------------------------------------------------------

let timer = 0, isUnsaved = false;
/** Called when the browser refuses to keep drawings. @type {(message: string) => void} */
let complain = () => {};

function saveSoon() {
  isUnsaved = true;
  clearTimeout(timer);
  timer = setTimeout(save, DELAY);
}

/** When the drawing on the page was last changed; null if it is not kept yet. @type {number|null} */
let modified = null;
/** The drawing as it was opened or kept last. */
let keptState = "";

/** Tells whether the drawing has changed. */
const state = () => `${drawing.version} ${JSON.stringify(choices)}`;

/** Keeps the drawing on the page, unless it is an empty page on which nothing has been done. */
async function save() {
  clearTimeout(timer);
  const isChanged = state() !== keptState;
  if (!isUnsaved || !(isDrawn() || isChanged || modified)) return;
  isUnsaved = false;
  if (isChanged || !modified) [keptState, modified] = [state(), Date.now()];
  localStorage.setItem(CURRENT_KEY, currentId);
  const { base, done, undone } = drawing;
  /** @type {Stored} */
  const stored = { id: currentId, modified, base, operations: [...done], undone: [...undone], choices: structuredClone(choices), thumbnail: null };
  try {
    await withStore("readwrite", (store) => store.put({ ...stored }));
    stored.thumbnail = await canvas.blobOf(thumbnail());
    await withStore("readwrite", (store) => store.put(stored));
    document.body.dataset.saved = String(drawing.version);
  } catch (error) {
    complain(`this browser does not keep the drawing (${/** @type {Error} */ (error).message}): save it to a file`);
  }
}

function thumbnail() {
  const small = canvas.scaled(canvas.ink, THUMBNAIL_SIDE, "#fff"), pen = canvas.context(small);
  if (hasColors()) pen.drawImage(picture(chosen()), 0, 0, small.width, small.height);
  pen.drawImage(canvas.ink, 0, 0, small.width, small.height);
  return small;
}

/** Begins another drawing; the one on the page stays kept. @param {Base} base @param {Partial<import("./settings.js").Choices>} other @param {Operation[]} [operations] */
export async function begin(base, other, operations = []) {
  await leave();
  await show(newId(), null, other, base, operations);
}

/** Puts a kept drawing on the page; false if another tab shows it. @param {Stored} stored */
export async function openStored(stored) {
  if (stored.id === currentId) return true;
  if (await isOpenElsewhere(stored.id)) return false;
  await leave();
  await show(stored.id, stored.modified, stored.choices, stored.base, stored.operations, stored.undone);
  return true;
}

/** Keeps the drawing on the page before another one is shown, but no page without any operation. */
async function leave() {
  await save();
  if (modified && !isDrawn() && !drawing.done.length && !drawing.undone.length) await remove(currentId);
}

/**
 * @param {string} id @param {number|null} time @param {Partial<import("./settings.js").Choices>} other @param {Base} base
 * @param {Operation[]} operations @param {Operation[]} [undone]
 */
async function show(id, time, other, base, operations, undone) {
  currentId = id;
  sessionStorage.setItem(CURRENT_KEY, id);
  setChoices(other);
  await open(base, operations, undone);
  [keptState, modified] = [state(), time];
}

/** Puts the drawing back that this tab showed, or a new tab the last one; false if there is none. @returns {Promise<boolean>} */
export async function restore() {
  const id = sessionStorage.getItem(CURRENT_KEY) ?? localStorage.getItem(CURRENT_KEY);
  const stored = id ? /** @type {Stored|undefined} */ (await withStore("readonly", (store) => store.get(id))) : undefined;
  return stored ? openStored(stored) : false;
}

/** @param {(message: string) => void} onError */
export function setUpStorage(onError) {
  complain = onError;
  on("changed", saveSoon);
  on("colored", saveSoon);
  addEventListener("visibilitychange", save);
  addEventListener("pagehide", save);
}

// ---- other tabs --------------------------------------------------------------------------------------

const tabs = new BroadcastChannel("linewash");
tabs.addEventListener("message", ({ data }) => {
  if (data.ask === currentId) tabs.postMessage({ shows: currentId });
});

/** Whether another tab shows a drawing: two tabs would overwrite each other's changes. @param {string} id @returns {Promise<boolean>} */
function isOpenElsewhere(id) {
  return new Promise((resolve) => {
    const answer = (/** @type {MessageEvent} */ { data }) => { if (data.shows === id) finish(true); };
    const finish = (/** @type {boolean} */ isOpen) => {
      tabs.removeEventListener("message", answer);
      resolve(isOpen);
    };
    tabs.addEventListener("message", answer);
    tabs.postMessage({ ask: id });
    setTimeout(() => finish(false), ANSWER_TIME);
  });
}
