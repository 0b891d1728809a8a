// The elements of the page.

/** Returns the element with an id. @param {string} id @returns {HTMLElement} */
export function $(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** @param {string} id @returns {HTMLButtonElement} */
export const button = (id) => /** @type {HTMLButtonElement} */ ($(id));
/** @param {string} id @returns {HTMLInputElement} */
export const input = (id) => /** @type {HTMLInputElement} */ ($(id));
/** @param {string} id @returns {HTMLDialogElement} */
export const dialog = (id) => /** @type {HTMLDialogElement} */ ($(id));
/** @param {string} id @returns {HTMLButtonElement[]} */
export const buttonsOf = (id) => /** @type {HTMLButtonElement[]} */ ([...$(id).children]);

/** Shows a message below the page. @param {string} text @param {boolean} [isError] */
export function showStatus(text, isError = false) {
  $("status").textContent = text || "\u00a0";
  $("status").classList.toggle("error", isError);
}

/** Creates a button with a colour. @param {string} color @param {string} name @param {() => void} action */
export function swatch(color, name, action) {
  const element = document.createElement("button");
  element.title = name;
  element.setAttribute("aria-label", `${name} ${color}`);
  element.dataset.color = element.style.background = color;
  element.addEventListener("click", action);
  return element;
}

/** Marks one radio button of a group; Tab stops there only. @param {HTMLElement[]} all @param {(button: HTMLElement) => boolean} isChecked */
export function check(all, isChecked) {
  const index = Math.max(0, all.findIndex(isChecked));
  for (const [i, each] of all.entries()) {
    each.setAttribute("aria-checked", String(isChecked(each)));
    each.tabIndex = i === index ? 0 : -1;
  }
}

/** Lets arrow keys move within a group of radio buttons. @param {string} id */
export function addArrowKeys(id) {
  $(id).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = buttonsOf(id).filter((each) => !each.disabled);
    if (!step || !all.length) return;
    event.preventDefault();
    const current = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const next = all[(current + step + all.length) % all.length];
    next.focus();
    next.click();
  });
}
