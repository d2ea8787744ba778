// Files as one tar archive that is never made: any stretch of its bytes can be had, from headers and slices of the files.
// The same files give the same bytes, so sending can go on after the page was closed and the folder chosen again.

const BLOCK = 512;
const USTAR_SIZE_MAX = 8 ** 11 - 1;
const encoder = new TextEncoder();

/** One file to send; `bytes(start, end)` gives a stretch of it. @typedef {{name: string, size: number, fingerprint: string, bytes: (start: number, end: number) => Promise<ArrayBuffer>}} Sendable */

/** A file has changed or is gone since it was chosen. */
export class FileChangedError extends Error {}

/** @param {File} file @returns {Sendable} */
export function sendableFile(file) {
  return { name: file.name, size: file.size, fingerprint: hash([`${file.name}\t${file.size}\t${file.lastModified}`]), bytes: (start, end) => read(file, file.name, start, end) };
}

/** @param {string} name @param {import("./picked_files.js").PickedFile[]} files in the order of the archive @returns {Sendable} */
export function sendableFolder(name, files) {
  const starts = new Float64Array(files.length + 1);
  const headers = files.map(({ path, file }, at) => {
    const header = makeHeader(path, file.size);
    starts[at + 1] = starts[at] + header.length + Math.ceil(file.size / BLOCK) * BLOCK;
    return header;
  });
  const end = starts[files.length];

  /** The file whose stretch holds that byte. @param {number} offset */
  function findAt(offset) {
    let [low, high] = [0, files.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle + 1] <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {number} start @param {number} stop */
  async function bytes(start, stop) {
    const out = new Uint8Array(stop - start); // what nothing is written to stays zero: padding, and the tar's end
    for (let at = findAt(start); at < files.length && starts[at] < stop; at += 1) {
      const header = headers[at];
      const dataStart = starts[at] + header.length;
      const { path, file } = files[at];
      put(out, start, header, starts[at]);
      const [from, to] = [Math.max(start - dataStart, 0), Math.min(stop - dataStart, file.size)];
      if (to > from) put(out, start, new Uint8Array(await read(file, path, from, to)), dataStart + from);
    }
    return out.buffer;
  }

  const lines = files.map(({ path, file }) => `${path}\t${file.size}\t${file.lastModified}`);
  return { name, size: end + 2 * BLOCK, fingerprint: hash(lines), bytes };
}

/** Copy what of `data`, which begins at `at`, falls into `out`, which begins at `start`. @param {Uint8Array} out @param {number} start @param {Uint8Array} data @param {number} at */
function put(out, start, data, at) {
  const from = Math.max(0, start - at);
  const to = Math.min(data.length, start + out.length - at);
  if (to > from) out.set(data.subarray(from, to), at + from - start);
}

/** @param {File} file @param {string} path @param {number} start @param {number} end */
async function read(file, path, start, end) {
  let data;
  try {
    data = await file.slice(start, end).arrayBuffer();
  } catch {
    throw new FileChangedError(`${path} cannot be read any more: it was changed, moved or removed. Choose it again.`);
  }
  if (data.byteLength !== end - start) throw new FileChangedError(`${path} is shorter than before. Choose it again.`);
  return data;
}

/** The header of one member; a pax header before it where the old one has no room for the name or the size. @param {string} path @param {number} size */
function makeHeader(path, size) {
  const isPlain = path.length <= 100 && /^[\x20-\x7e]*$/.test(path) && size <= USTAR_SIZE_MAX;
  if (isPlain) return ustar(path, size, "0");
  const records = encoder.encode(paxRecord("path", path) + (size > USTAR_SIZE_MAX ? paxRecord("size", String(size)) : ""));
  const padded = new Uint8Array(Math.ceil(records.length / BLOCK) * BLOCK);
  padded.set(records);
  const parts = [ustar("pax", records.length, "x"), padded, ustar("file", size > USTAR_SIZE_MAX ? 0 : size, "0")];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

/** "30 path=...\n", whose number counts itself. @param {string} key @param {string} value */
function paxRecord(key, value) {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  while (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/** @param {string} name @param {number} size @param {string} kind */
function ustar(name, size, kind) {
  const block = new Uint8Array(BLOCK);
  const write = (at, text) => block.set(encoder.encode(text), at);
  const octal = (value, width) => `${value.toString(8).padStart(width - 1, "0")}\0`;
  write(0, name);
  write(100, octal(0o644, 8));
  write(108, octal(0, 8));
  write(116, octal(0, 8));
  write(124, octal(size, 12));
  write(136, octal(0, 12));
  write(148, " ".repeat(8));
  write(156, kind);
  write(257, "ustar\0" + "00");
  write(148, `${block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `);
  return block;
}

/** 64 bits that differ for different lines; nobody's safety rests on them. @param {string[]} lines */
function hash(lines) {
  let [one, two] = [0xdeadbeef, 0x41c6ce57];
  for (const line of lines) {
    for (let at = 0; at <= line.length; at += 1) {
      const code = at < line.length ? line.charCodeAt(at) : 10;
      one = Math.imul(one ^ code, 2654435761);
      two = Math.imul(two ^ code, 1597334677);
    }
    one = Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(two ^ (two >>> 13), 3266489909);
    two = Math.imul(two ^ (two >>> 16), 2246822507) ^ Math.imul(one ^ (one >>> 13), 3266489909);
  }
  return [one, two].map((part) => (part >>> 0).toString(16).padStart(8, "0")).join("");
}
