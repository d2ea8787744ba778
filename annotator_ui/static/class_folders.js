// Which level of folders names the classes, and which a split. In words: step over folders that hold everything; a level
// whose names are all splits is the split level, above or below the classes; what is left is the class, if every image
// lies in one of at least two. The import decides in the same way (al_service/ingest/layout.py); a test compares the two.

const SPLITS = new Map([
  ...["train", "training", "trainval"].map((word) => /** @type {const} */ ([word, "train"])),
  ...["test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev"].map((word) => /** @type {const} */ ([word, "test"])),
]);

/** @param {string|undefined} word @returns {string|null} "train", "test" or null */
export const splitName = (word) => SPLITS.get((word ?? "").trim().toLowerCase()) ?? null;

/** @typedef {{splitLevel: number|null, classLevel: number|null}} Layout */

/** @param {Iterable<string>} paths of images @returns {Layout} */
export function detectLayout(paths) {
  /** @type {Map<string, string[]>} */ const byFolder = new Map();
  for (const path of paths) {
    const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    if (!byFolder.has(folder)) byFolder.set(folder, folder ? folder.split("/") : []);
  }
  const folders = [...byFolder.values()];
  const top = wrappingDepth(folders);
  const [splitLevel, classLevel] = levels(folders, top);
  if (areClasses(folders, splitLevel, classLevel)) return { splitLevel, classLevel };
  return { splitLevel: splitLevel === top ? splitLevel : null, classLevel: null };
}

/** The class of one image, or null. @param {Layout} layout @param {string} path */
export function classOf(layout, path) {
  const folders = path.split("/").slice(0, -1);
  return layout.classLevel === null ? null : folders[layout.classLevel] ?? null;
}

/** The split of one image, or null. @param {Layout} layout @param {string} path */
export function splitOf(layout, path) {
  return layout.splitLevel === null ? null : splitName(path.split("/").slice(0, -1)[layout.splitLevel]);
}

/** @param {string[][]} folders */
function wrappingDepth(folders) {
  let depth = 0;
  while (folders.length && folders.every((parts) => parts.length > depth)) {
    const names = new Set(folders.map((parts) => parts[depth]));
    if (names.size > 1 || splitName([...names][0])) break;
    depth += 1;
  }
  return depth;
}

/** @param {string[][]} folders @param {number} top @returns {[number|null, number]} */
function levels(folders, top) {
  for (const [splitLevel, classLevel] of [[top, top + 1], [top + 1, top]]) {
    if (folders.length && folders.every((parts) => splitName(parts[splitLevel]))) return [splitLevel, classLevel];
  }
  return [null, top];
}

/** @param {string[][]} folders @param {number|null} splitLevel @param {number} classLevel */
function areClasses(folders, splitLevel, classLevel) {
  const depth = Math.max(classLevel, splitLevel ?? 0) + 1;
  const lowest = splitLevel !== null && splitLevel < classLevel ? classLevel : depth;
  const isRightDepth = folders.every((parts) => lowest <= parts.length && parts.length <= depth);
  return isRightDepth && new Set(folders.filter((parts) => parts.length > classLevel).map((parts) => parts[classLevel])).size > 1;
}
