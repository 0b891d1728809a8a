// The choices that belong to a drawing, beside its lines and hints.

/**
 * @typedef {"auto"|"paper"|"paint"|"transparent"} Background
 * The wanted colours with their weights, and the picture that they are of.
 * @typedef {{on: boolean, colors: [string, number][], name: string, thumbnail: string|null}} Reference
 * @typedef {{name: string, background: Background, seed: number, chosen: number, reference: Reference, strength: number, vivid: number}} Choices
 * `strength` says how closely the colours follow the reference, from 0 to 1; `vivid` brings rare colours forward, from 0 to 3.
 */

/** @returns {Choices} */
export const defaults = () => ({
  name: "", background: "auto", seed: 0, chosen: 0, reference: { on: false, colors: [], name: "", thumbnail: null },
  strength: 0.5, vivid: 0,
});

/** The choices for the drawing on the page. */
export const choices = defaults();

/** Takes the choices of another drawing; what is missing gets its default. @param {Partial<Choices>} other */
export function setChoices(other) {
  Object.assign(choices, defaults(), other);
  choices.reference = { ...defaults().reference, ...other.reference };
}

/** Whether the colours follow a reference. */
export const isReferenceActive = () => choices.reference.on && choices.reference.colors.length > 0;
