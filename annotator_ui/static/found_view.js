// Shows what was found in what was chosen: counts, class folders, what is left out and what is worth knowing.

import { byId, count, el, plural, setText } from "./dom.js";

const CLASSES_SHOWN = 60;

/** 3221225472 -> "3.0 GB" @param {number} bytes */
export function sizeWords(bytes) {
  for (const [unit, size] of /** @type {[string, number][]} */ ([["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])) if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  return plural(bytes, "byte");
}

/** @param {number} images */
export function showLooking(images) {
  setText(byId("found-words"), images ? `Looking inside: ${plural(images, "file")} so far` : "Looking inside");
  byId("found-notes").replaceChildren();
  byId("found-classes").hidden = true;
  byId("found-others").hidden = true;
}

/** @param {import("./found_files.js").Found} found @param {number} bytes of what will be sent */
export function showFound(found, bytes) {
  const names = [...found.classes];
  const words = found.images === null
    ? `${sizeWords(bytes)}. ${found.problem ? `The names inside cannot be read: ${found.problem}` : "What is inside is seen when it is imported."}`
    : `${plural(found.images, "image")}${names.length ? ` in ${plural(names.length, "folder")} that look like classes` : ""}, ${sizeWords(bytes)} to send.`;
  setText(byId("found-words"), words);
  byId("found-classes").hidden = names.length === 0;
  byId("found-classes").querySelector("ul")?.replaceChildren(...names.slice(0, CLASSES_SHOWN).map(([name, images]) => el("li", {}, name, el("b", { text: count(images) }))), ...(names.length > CLASSES_SHOWN ? [el("li", { text: `and ${count(names.length - CLASSES_SHOWN)} more` })] : []));
  const others = byId("found-others");
  others.hidden = found.otherCount === 0;
  setText(/** @type {Element} */ (others.querySelector("summary")), `${plural(found.otherCount, "file")} that ${found.otherCount === 1 ? "is no image" : "are no images"}`);
  others.querySelector("ul")?.replaceChildren(...found.others.map((name) => el("li", { text: name })), ...(found.otherCount > found.others.length ? [el("li", { text: `and ${count(found.otherCount - found.others.length)} more` })] : []));
}

/**
 * What is worth knowing before the start.
 * @param {import("./found_files.js").Found} found @param {string[]} classes those that the project will have
 * @param {string} use all, evaluation or none: what is done with labels
 * @returns {{kind: string, text: string}[]}
 */
export function notes(found, classes, use) {
  const said = [];
  if (found.images === 0) said.push({ kind: "warn", text: "There is no image in it." });
  for (const table of found.tables) said.push({ kind: "", text: `${table} may name images, their labels and their split.` });
  for (const [split, images] of found.splits) said.push({ kind: "", text: split === "test" ? `${plural(images, "image")} in test folders are kept aside to measure the model.` : `${plural(images, "image")} in training folders.` });
  for (const [format, files] of found.foreign) said.push({ kind: "warn", text: `${plural(files, `${format} file`)} cannot be read: convert to JPEG or PNG.` });
  const strange = use === "none" || found.tables.length ? [] : [...found.classes].filter(([name]) => classes.length && !classes.includes(name));
  if (strange.length) {
    const images = strange.reduce((sum, [, number]) => sum + number, 0);
    said.push({ kind: "warn", text: `${plural(images, "image")} will be refused: ${strange.slice(0, 5).map(([name]) => name).join(", ")}${strange.length > 5 ? ` and ${strange.length - 5} more` : ""} ${strange.length === 1 ? "is no class" : "are no classes"} of this project. Ignore the labels to take them.` });
  }
  return said;
}

/** @param {{kind: string, text: string}[]} said */
export function showNotes(said) {
  byId("found-notes").replaceChildren(...said.map(({ kind, text }) => el("li", { text, dataset: { kind } })));
}
