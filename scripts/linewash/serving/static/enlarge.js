// Enlarges a map of regions with smooth borders, as the server does for downloads.

const SOFTNESS = 1; // px of the map: radius by which corners are rounded, as in colorizer.py
const REACH = 3; // px of the map: pixels further away do not count
const TAPS = 2 * REACH;

/**
 * A map of the canvas's size. `numbers` has the region of each pixel. The pixels `at` lie on a border: a part of them, `shares` of 255,
 * belongs to another region, `others`.
 * @typedef {{width: number, height: number, numbers: Uint32Array, at: number[], others: number[], shares: number[]}} Enlarged
 */

/**
 * Each region is blurred; a pixel belongs to the region that has most of it there.
 * @param {Uint32Array} map @param {number} width @param {number} height @param {number} newWidth @param {number} newHeight @returns {Enlarged}
 */
export function enlarge(map, width, height, newWidth, newHeight) {
  const columns = makeTaps(width, newWidth), rows = makeTaps(height, newHeight), isMixed = findMixed(map, width, height);
  const numbers = new Uint32Array(newWidth * newHeight), at = [], others = [], shares = [];
  const ramp = SOFTNESS * Math.sqrt(Math.PI / 2) * newWidth / width; // 1 / how much a share changes from pixel to pixel across a border
  for (let y = 0, i = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++, i++) {
      const nearest = rows.nearest[y] * width + columns.nearest[x];
      numbers[i] = map[nearest];
      if (!isMixed[nearest]) continue;
      weigh(map, width, columns, x, rows, y);
      numbers[i] = first;
      const share = 0.5 + (firstWeight - secondWeight) * ramp;
      if (share >= 1) continue;
      at.push(i);
      others.push(second);
      shares.push(Math.round(255 * (1 - share)));
    }
  }
  return { width: newWidth, height: newHeight, numbers, at, others, shares };
}

/**
 * For each new column or row: the nearest old one, the old ones around it and their weights.
 * @typedef {{nearest: Int32Array, indices: Int32Array, weights: Float32Array}} Taps
 * @param {number} length @param {number} newLength @returns {Taps}
 */
function makeTaps(length, newLength) {
  const nearest = new Int32Array(newLength), indices = new Int32Array(newLength * TAPS), weights = new Float32Array(newLength * TAPS);
  const inside = (/** @type {number} */ index) => Math.min(length - 1, Math.max(0, index));
  for (let i = 0; i < newLength; i++) {
    const center = (i + 0.5) * length / newLength - 0.5, before = Math.floor(center), fraction = center - before;
    nearest[i] = inside(Math.round(center));
    let sum = 0;
    for (let tap = 0; tap < TAPS; tap++) {
      const offset = tap - REACH + 1;
      indices[i * TAPS + tap] = inside(before + offset);
      sum += weights[i * TAPS + tap] = (1 - fraction) * gauss(offset) + fraction * gauss(offset - 1); // blurred, then interpolated
    }
    for (let tap = 0; tap < TAPS; tap++) weights[i * TAPS + tap] /= sum;
  }
  return { nearest, indices, weights };
}

const gauss = (/** @type {number} */ x) => Math.exp(-0.5 * (x / SOFTNESS) ** 2);

/** Marks the pixels beside another region: the others keep theirs. @param {Uint32Array} map @param {number} width @param {number} height */
function findMixed(map, width, height) {
  const isMixed = new Uint8Array(map.length);
  for (let row = 0, i = 0; row < height; row++) {
    for (let column = 0; column < width; column++, i++) {
      if ((column + 1 === width || map[i] === map[i + 1]) && (row + 1 === height || map[i] === map[i + width])) continue;
      for (let near = Math.max(0, row - 1); near <= Math.min(height - 1, row + 1); near++) {
        isMixed.fill(1, near * width + Math.max(0, column - 1), near * width + Math.min(width, column + 2));
      }
    }
  }
  return isMixed;
}

/** The two regions that have most of a pixel, and how much. */
let first = 0, second = 0, firstWeight = 0, secondWeight = 0;
const found = new Uint32Array(TAPS * TAPS), total = new Float32Array(TAPS * TAPS);

/** @param {Uint32Array} map @param {number} width @param {Taps} columns @param {number} x @param {Taps} rows @param {number} y */
function weigh(map, width, columns, x, rows, y) {
  let count = 0;
  for (let v = y * TAPS; v < (y + 1) * TAPS; v++) {
    const start = rows.indices[v] * width, weight = rows.weights[v];
    for (let u = x * TAPS; u < (x + 1) * TAPS; u++) {
      const number = map[start + columns.indices[u]];
      let k = 0;
      while (k < count && found[k] !== number) k++;
      if (k === count) {
        found[count] = number;
        total[count++] = 0;
      }
      total[k] += weight * columns.weights[u];
    }
  }
  firstWeight = secondWeight = 0;
  for (let k = 0; k < count; k++) {
    if (total[k] > firstWeight) {
      second = first;
      secondWeight = firstWeight;
      first = found[k];
      firstWeight = total[k];
    } else if (total[k] > secondWeight) {
      second = found[k];
      secondWeight = total[k];
    }
  }
}
