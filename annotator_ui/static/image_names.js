// What a file's name and first bytes say: image, table, picture in a format that is not read, or something else.
// The import decides in the same way (al_service/ingest/names.py, al_service/images.py); a test compares the two.

const words = (text) => new Set(text.split(" "));

export const IMAGE_ENDINGS = words(".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .avif");
/** Pictures and films that people would miss if they were left out without a word. */
export const FOREIGN_ENDINGS = words(".heic .heif .svg .psd .pdf .eps .ps .ico .raw .cr2 .cr3 .nef .arw .dng .dcm .exr .hdr .jxl .tga .mp4 .mov .avi");
export const TABLE_ENDINGS = words(".csv .tsv .jsonl .ndjson");
const ARCHIVE_NAME = /\.(zip|tar|tar\.(gz|bz2|xz)|tgz|tbz2?|txz)$/i;
const LEFT_BEHIND = words("__MACOSX Thumbs.db desktop.ini");
const MAGIC = [[0xff, 0xd8, 0xff], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], [..."GIF8"], [..."BM"], [..."II*\0"], [..."MM\0*"], [..."II+\0"], [..."MM\0+"], [..."\0\0\0\x0cjP  \r\n", 0x87, "\n"], [0xff, 0x4f, 0xff, 0x51]]
  .map((signs) => signs.map((sign) => (typeof sign === "string" ? sign.charCodeAt(0) : sign)));

/** @typedef {"image"|"table"|"foreign"|"unknown"|"hidden"} Kind */

/** The last dot and what follows, lower case; "" without one. @param {string} path */
export function ending(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot > 0 && !/^\.+$/.test(name.slice(0, dot)) ? name.slice(dot).toLowerCase() : "";
}

/** What macOS and Windows leave behind, and names that begin with a dot. @param {string} path */
export const isHidden = (path) => path.split("/").some((part) => part.startsWith(".") || LEFT_BEHIND.has(part));

/** @param {string} path @returns {Kind} unknown: the first bytes have to say */
export function kindOf(path) {
  if (isHidden(path)) return "hidden";
  const end = ending(path);
  if (TABLE_ENDINGS.has(end)) return "table";
  if (FOREIGN_ENDINGS.has(end)) return "foreign";
  return IMAGE_ENDINGS.has(end) ? "image" : "unknown";
}

/** @param {string} name */
export const isArchiveName = (name) => ARCHIVE_NAME.test(name);

/** Do the first 16 bytes begin an image that is read? @param {Uint8Array} head */
export function looksLikeImage(head) {
  const text = String.fromCharCode(...head.slice(0, 16));
  if (MAGIC.some((signs) => signs.every((sign, at) => head[at] === sign))) return true;
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return true;
  if (/^P[1-6][ \t\n\r\v\f]/.test(text)) return true;
  return ["ftypavif", "ftypavis"].includes(text.slice(4, 12));
}
