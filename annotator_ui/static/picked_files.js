// What a person dropped or chose: one archive as it is, or files with their paths, whole folders included.

import { isArchiveName } from "./image_names.js";

/**
 * @typedef {{path: string, file: File}} PickedFile
 * @typedef {{kind: "archive", name: string, file: File} | {kind: "files", name: string, files: PickedFile[]}} Picked
 */

/** From the two file fields. @param {FileList} list @returns {Picked|null} null when nothing was chosen */
export function fromField(list) {
  return picked([...list].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/** From a drop, folders and all below them; call it in the event itself. @param {DataTransfer} transfer @returns {Promise<Picked|null>} */
export async function fromDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  // Both must be asked for before the event is over.
  const roots = items.map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  /** @type {PickedFile[]} */ const files = [];
  for (const { entry, file } of roots) {
    if (entry?.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), entry.name, files);
    else if (file) files.push({ path: file.name, file });
  }
  return picked(files);
}

/** @param {PickedFile[]} files @returns {Picked|null} */
function picked(files) {
  if (!files.length) return null;
  const [first] = files;
  if (files.length === 1 && isArchiveName(first.path)) return { kind: "archive", name: first.file.name, file: first.file };
  files.sort((one, two) => (one.path < two.path ? -1 : one.path > two.path ? 1 : 0));
  const tops = new Set(files.map(({ path }) => path.split("/", 1)[0]));
  const name = tops.size === 1 ? [...tops][0] : `${files.length} files`;
  return { kind: "files", name, files };
}

/** @param {FileSystemDirectoryEntry} folder @param {string} path @param {PickedFile[]} files */
async function walk(folder, path, files) {
  const source = folder.createReader();
  for (;;) {
    const batch = /** @type {FileSystemEntry[]} */ (await new Promise((resolve, reject) => { source.readEntries(resolve, reject); }));
    if (!batch.length) return;
    for (const entry of batch) {
      const at = `${path}/${entry.name}`;
      if (entry.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), at, files);
      else files.push({ path: at, file: await new Promise((resolve, reject) => { /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject); }) });
    }
  }
}
