// The names inside an archive, read in the browser before anything is sent: a zip's directory, or a tar from its
// beginning to its end, through gzip where it is packed. Nothing is unpacked; what cannot be read here the import reads.

const EOCD = 0x06054b50;
const EOCD64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const MEMBER = 0x02014b50;
const DIRECTORY_MAX = 512 * 2 ** 20;
const BLOCK = 512;
const HEADER_MAX = 2 ** 20;

/** The archive is damaged, or of a kind whose names cannot be read here. */
export class UnlistableError extends Error {}

/**
 * @param {File} file @param {{found?: (count: number) => void, signal?: AbortSignal}} [more]
 * @returns {Promise<string[]|null>} paths of files; null for kinds that only the import can look into
 */
export async function listArchive(file, { found = () => {}, signal } = {}) {
  const head = new Uint8Array(await file.slice(0, BLOCK).arrayBuffer());
  if (head[0] === 0x50 && head[1] === 0x4b) return zipNames(file);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (!isGzip && text(head.subarray(257, 262)) !== "ustar") return null;
  const bytes = isGzip ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  return tarNames(bytes, found, signal);
}

/** @param {File} file */
async function zipNames(file) {
  const tailStart = Math.max(0, file.size - 66000);
  const tail = new DataView(await file.slice(tailStart).arrayBuffer());
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== EOCD) at -= 1;
  if (at < 0) throw new UnlistableError("it is damaged or cut short: download or pack it again");
  let [count, size, start] = [tail.getUint16(at + 10, true), tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (at >= 20 && tail.getUint32(at - 20, true) === LOCATOR64) {
    const place = Number(tail.getBigUint64(at - 12, true));
    const large = new DataView(await file.slice(place, place + 56).arrayBuffer());
    if (large.byteLength < 56 || large.getUint32(0, true) !== EOCD64) throw new UnlistableError("its directory is damaged: pack it again");
    [count, size, start] = [32, 40, 48].map((offset) => Number(large.getBigUint64(offset, true)));
  } else if (start + size !== tailStart + at) {
    start = tailStart + at - size; // something was put in front of the archive: its own offsets are short by that
  }
  if (size > DIRECTORY_MAX || start < 0) throw new UnlistableError("its directory is damaged: pack it again");
  return memberNames(new DataView(await file.slice(start, start + size).arrayBuffer()), count);
}

/** @param {DataView} directory @param {number} count */
function memberNames(directory, count) {
  const names = [];
  for (let at = 0, number = 0; number < count; number += 1) {
    if (at + 46 > directory.byteLength || directory.getUint32(at, true) !== MEMBER) throw new UnlistableError("its directory is damaged: pack it again");
    const [nameLength, extra, comment] = [28, 30, 32].map((offset) => directory.getUint16(at + offset, true));
    const name = text(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, Math.min(nameLength, directory.byteLength - at - 46)));
    const path = name.includes("/") ? name : name.replaceAll("\\", "/");
    if (!path.endsWith("/")) names.push(plain(path));
    at += 46 + nameLength + extra + comment;
  }
  return names;
}

/** @param {ReadableStream<Uint8Array>} stream @param {(count: number) => void} found @param {AbortSignal} [signal] */
async function tarNames(stream, found, signal) {
  const source = reader(stream, signal);
  const names = [];
  let longName = "";
  try {
    for (;;) {
      const header = await source.take(BLOCK);
      if (!header || header.every((byte) => byte === 0)) return names;
      const size = sizeOf(header);
      const kind = String.fromCharCode(header[156] || 48);
      const padded = Math.ceil(size / BLOCK) * BLOCK;
      if (kind === "x" || kind === "L") {
        if (size > HEADER_MAX) throw new UnlistableError("one of its headers is damaged: pack it again");
        const body = await source.take(padded);
        if (!body) return names;
        longName = kind === "L" ? cut(body.subarray(0, size)) : paxPath(body.subarray(0, size)) || longName;
        continue;
      }
      if (kind === "0" || kind === "7") names.push(plain(longName || nameOf(header)));
      longName = kind === "g" ? longName : "";
      if (names.length % 1000 === 1) found(names.length);
      if (!(await source.skip(padded))) return names;
    }
  } catch (error) {
    if (error instanceof UnlistableError || signal?.aborted) throw error;
    throw new UnlistableError("it is damaged or cut short: download or pack it again");
  } finally {
    source.stop();
  }
}

/** @param {ReadableStream<Uint8Array>} stream @param {AbortSignal} [signal] */
function reader(stream, signal) {
  const source = stream.getReader();
  let held = new Uint8Array(0);
  async function more() {
    signal?.throwIfAborted();
    const { done, value } = await source.read();
    if (done) return false;
    held = held.length ? joined(held, value) : value;
    return true;
  }
  return {
    /** @param {number} count @returns {Promise<Uint8Array|null>} null at the end */
    async take(count) {
      while (held.length < count) if (!(await more())) return null;
      const piece = held.subarray(0, count);
      held = held.subarray(count);
      return piece;
    },
    /** @param {number} count */
    async skip(count) {
      let left = count;
      while (left > held.length) {
        left -= held.length;
        held = new Uint8Array(0);
        if (!(await more())) return false;
      }
      held = held.subarray(left);
      return true;
    },
    stop: () => { source.cancel().catch(() => {}); },
  };
}

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function sizeOf(header) {
  if (header[124] & 0x80) return header.subarray(125, 136).reduce((sum, byte) => sum * 256 + byte, 0);
  const size = parseInt(cut(header.subarray(124, 136)).trim() || "0", 8);
  if (!(size >= 0)) throw new UnlistableError("one of its headers is damaged: pack it again");
  return size;
}

function nameOf(header) {
  const prefix = text(header.subarray(257, 263)) === "ustar\0" ? cut(header.subarray(345, 500)) : "";
  return (prefix ? `${prefix}/` : "") + cut(header.subarray(0, 100));
}

function paxPath(body) {
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(32, at);
    const length = Number(text(body.subarray(at, space)));
    if (!(length > 0)) return "";
    const record = text(body.subarray(space + 1, at + length - 1));
    if (record.startsWith("path=")) return record.slice(5);
    at += length;
  }
  return "";
}

const utf8 = new TextDecoder("utf-8");
const text = (bytes) => utf8.decode(bytes);
const cut = (bytes) => text(bytes).split("\0", 1)[0];
const plain = (path) => path.split("/").filter((part) => part && part !== ".").join("/");
