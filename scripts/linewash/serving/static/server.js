// Requests to the server.

/** @typedef {{palette: string[], names: string[], hints: boolean, reference: boolean, vivid: boolean, side: number, examples: string[]}} Settings */
/** @typedef {{regions: string|null, areas: string|null, colors: (string|null)[][], origins: string[], likeliest: [string, number][][], background: string|null}} Coloring */

/** The server cannot be reached. */
export class Unreachable extends Error {}

/**
 * Sends a request and returns the response; throws an Error with the message of the server.
 * @param {string} path @param {BodyInit} [body] @returns {Promise<Response>}
 */
export async function request(path, body) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Unreachable("no response from the server: is it still running? Your drawing is kept");
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  throw new Error(content.error ?? `the server responded with status ${response.status}`);
}

/** What the network of the server takes; the page does not send the rest. */
export const network = { reference: false, vivid: false };

/** @returns {Promise<Settings>} */
export async function about() {
  /** @type {Settings} */
  const settings = await (await request("about")).json();
  network.reference = settings.reference;
  network.vivid = settings.vivid;
  return settings;
}

/** @param {object} body @returns {Promise<Coloring>} */
export const color = async (body) => (await request("color", JSON.stringify(body))).json();

/** @param {object} body @returns {Promise<Blob>} */
export const download = async (body) => (await request("download", JSON.stringify(body))).blob();

/** @param {string} name @returns {Promise<Blob>} */
export const example = async (name) => (await request(`examples/${name}`)).blob();

/**
 * Returns the lines of a picture: ink on transparency, the picture's own size, and what it looks like.
 * @param {Blob} file @param {"auto"|"drawing"|"photo"} source
 */
export async function lines(file, source) {
  const response = await request(`lines?source=${source}`, file);
  const [width, height] = (response.headers.get("Linewash-Size") ?? "").split("x").map(Number);
  return { ink: await response.blob(), width, height, looksLike: response.headers.get("Linewash-Looks-Like") };
}

/** Returns the palette colours of a picture with their shares. @param {Blob} file @returns {Promise<[string, number][]>} */
export const referenceColors = async (file) => (await (await request("reference", file)).json()).colors;
