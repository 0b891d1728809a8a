// ZIP archives, as which .linewash files are kept: written without compression, because PNGs are compressed.

const LOCAL_HEADER = 0x04034b50, CENTRAL_HEADER = 0x02014b50, END_HEADER = 0x06054b50;
const STORED = 0, DEFLATED = 8;
const END_BYTES = 22, CENTRAL_BYTES = 46, LOCAL_BYTES = 30, MAX_COMMENT = 65535;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte >>> 0;
});

/** The CRC-32 of ZIP. @param {Uint8Array} data */
function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}

/** Packs files. @param {Map<string, Uint8Array>} files @returns {Blob} */
export function pack(files) {
  /** @type {Uint8Array[]} */
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, data] of files) {
    const encoded = new TextEncoder().encode(name), crc = crc32(data);
    const common = [[20, 2], [0x800, 2], [STORED, 2], [0, 2], [0x21, 2], [crc, 4], [data.length, 4], [data.length, 4], [encoded.length, 2], [0, 2]];
    const local = fields([[LOCAL_HEADER, 4], ...common]);
    directory.push(fields([[CENTRAL_HEADER, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), encoded);
    parts.push(local, encoded, data);
    offset += local.length + encoded.length + data.length;
  }
  const directoryBytes = directory.reduce((sum, part) => sum + part.length, 0);
  const end = fields([[END_HEADER, 4], [0, 2], [0, 2], [files.size, 2], [files.size, 2], [directoryBytes, 4], [offset, 4], [0, 2]]);
  return new Blob(/** @type {BlobPart[]} */ ([...parts, ...directory, end]), { type: "application/zip" });
}

/** Little-endian numbers of 2 or 4 bytes. @param {number[][]} values number and bytes of each */
function fields(values) {
  const bytes = new Uint8Array(values.reduce((sum, [, length]) => sum + length, 0)), view = new DataView(bytes.buffer);
  let position = 0;
  for (const [value, length] of values) {
    if (length === 2) view.setUint16(position, value, true);
    else view.setUint32(position, value, true);
    position += length;
  }
  return bytes;
}

/** Unpacks files; throws an Error if the ZIP is damaged. @param {Blob} blob @returns {Promise<Map<string, Uint8Array>>} */
export async function unpack(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer()), view = new DataView(bytes.buffer);
  try {
    const end = findEnd(view), files = new Map();
    let position = view.getUint32(end + 16, true);
    for (let count = view.getUint16(end + 10, true); count > 0; count--) {
      if (view.getUint32(position, true) !== CENTRAL_HEADER) throw new RangeError("no entry");
      const [method, crc, size] = [view.getUint16(position + 10, true), view.getUint32(position + 16, true), view.getUint32(position + 20, true)];
      const [nameLength, extra, comment] = [28, 30, 32].map((at) => view.getUint16(position + at, true));
      const name = new TextDecoder().decode(bytes.subarray(position + CENTRAL_BYTES, position + CENTRAL_BYTES + nameLength));
      const local = view.getUint32(position + 42, true);
      const start = local + LOCAL_BYTES + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      if (start + size > bytes.length) throw new RangeError("cut");
      const data = await inflate(bytes.slice(start, start + size), method);
      if (crc32(data) !== crc) throw new RangeError("checksum");
      files.set(name, data);
      position += CENTRAL_BYTES + nameLength + extra + comment;
    }
    return files;
  } catch (error) {
    throw new Error("the file is damaged, or no .linewash file", { cause: error });
  }
}

/** @param {DataView} view */
function findEnd(view) {
  for (let at = view.byteLength - END_BYTES; at >= Math.max(0, view.byteLength - END_BYTES - MAX_COMMENT); at--) {
    if (view.getUint32(at, true) === END_HEADER) return at;
  }
  throw new RangeError("no directory");
}

/** @param {Uint8Array<ArrayBuffer>} data @param {number} method */
async function inflate(data, method) {
  if (method === STORED) return data;
  if (method !== DEFLATED) throw new RangeError(`method ${method}`);
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
