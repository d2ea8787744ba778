// Looks at what was chosen before anything is sent: images, class folders, tables, and what is left out and why.

import { UnlistableError, listArchive } from "./archive_listing.js";
import { classOf, detectLayout, splitOf } from "./class_folders.js";
import { ending, kindOf, looksLikeImage } from "./image_names.js";

const SNIFFED_AT_ONCE = 32;
const NAMES_KEPT = 200;

/**
 * `files` are those to send (null for an archive, which is sent as it is); `images` is null where only the import can
 * look inside; `classes` and `splits` count the images of each.
 * @typedef {{images: number|null, tables: string[], foreign: Map<string, number>, others: string[], otherCount: number, classes: Map<string, number>, splits: Map<string, number>, files: import("./picked_files.js").PickedFile[]|null, problem: string}} Found
 */

/**
 * @param {import("./picked_files.js").Picked} picked
 * @param {{counted?: (count: number) => void, signal?: AbortSignal}} [more]
 * @returns {Promise<Found>}
 */
export async function look(picked, more = {}) {
  if (picked.kind === "files") return lookAtFiles(picked.files, more);
  try {
    const names = await listArchive(picked.file, { found: more.counted, signal: more.signal });
    return names ? summary(names.map((path) => ({ path, kind: kindOf(path) })), null) : nothing("");
  } catch (error) {
    if (error instanceof UnlistableError) return nothing(error.message);
    if (error instanceof DOMException && error.name === "NotReadableError") return nothing("it cannot be read: was it moved?");
    throw error;
  }
}

/** @param {import("./picked_files.js").PickedFile[]} files */
async function lookAtFiles(files, { counted = () => {}, signal } = {}) {
  const seen = files.map(({ path }) => ({ path, kind: kindOf(path) }));
  const unsure = files.map((item, at) => ({ item, at })).filter(({ at }) => seen[at].kind === "unknown");
  for (let start = 0; start < unsure.length; start += SNIFFED_AT_ONCE) {
    signal?.throwIfAborted();
    counted(files.length - unsure.length + start);
    await Promise.all(unsure.slice(start, start + SNIFFED_AT_ONCE).map(async ({ item, at }) => {
      if (await beginsLikeImage(item.file)) seen[at].kind = "image";
    }));
  }
  return summary(seen, files.filter((_, at) => seen[at].kind === "image" || seen[at].kind === "table"));
}

async function beginsLikeImage(file) {
  try { return looksLikeImage(new Uint8Array(await file.slice(0, 16).arrayBuffer())); } catch { return false; }
}

/** @param {{path: string, kind: import("./image_names.js").Kind}[]} seen @param {import("./picked_files.js").PickedFile[]|null} files @returns {Found} */
function summary(seen, files) {
  const of = (kind) => seen.filter((item) => item.kind === kind).map((item) => item.path);
  const images = of("image");
  const layout = detectLayout(images);
  const others = of("unknown");
  const split = (path) => splitOf(layout, path);
  return {
    images: images.length, tables: of("table"), foreign: tally(of("foreign").map((path) => ending(path).slice(1).toUpperCase())),
    others: others.slice(0, NAMES_KEPT), otherCount: others.length, files, problem: "",
    classes: tally(images.map((path) => classOf(layout, path))), splits: tally(images.map(split)),
  };
}

/** @param {string} problem @returns {Found} */
const nothing = (problem) => ({ images: null, tables: [], foreign: new Map(), others: [], otherCount: 0, classes: new Map(), splits: new Map(), files: null, problem });

/** How often each comes, by name as the import sorts them; null is left out. @param {(string|null)[]} names */
function tally(names) {
  /** @type {Map<string, number>} */ const counts = new Map();
  for (const name of names) if (name) counts.set(name, (counts.get(name) ?? 0) + 1);
  return new Map([...counts].sort(([one], [two]) => (one < two ? -1 : 1)));
}
