// Messages between the modules, so that they need not know each other.

/**
 * "changed": the lines, the hints or a setting; "colored": a new colouring can be shown; "tool": another tool or colour; "color": a colour was
 * chosen, maybe the same again;
 * "view": the page was moved or zoomed; "opened": another drawing is on the page.
 * @typedef {"changed"|"colored"|"tool"|"color"|"view"|"opened"} EventName
 */

/** @type {Map<EventName, (() => void)[]>} */
const listeners = new Map();

/** @param {EventName} name @param {() => void} listener */
export function on(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

/** @param {EventName} name */
export function emit(name) {
  for (const listener of listeners.get(name) ?? []) listener();
}
