// Classes that change while somebody labels: the page learns the new ones and shows them from the next image on, never
// under a hand that is about to press. What was answered with a class that was split comes again.

import { projectPath } from "./api.js";

const NAMED = 3;

/** @param {import("./label.js").Desk} desk */
export function createClassChanges(desk) {
  /** @type {{version: string, classes: {name: string, position: number}[]}|null} read, but not shown yet */ let next = null;
  /** Images asked anew, and the answer of before that is set aside. @type {Map<number, string>} */ const anew = new Map();
  let isReading = false;

  /** @param {string} [version] that the server spoke of */
  async function read(version) {
    if (isReading || (version && [desk.version, next?.version].includes(version))) return;
    isReading = true;
    try {
      const found = await desk.api.call("GET", `${projectPath(desk.project)}/classes`);
      next = { version: found.version, classes: found.classes.filter((known) => !known.retired_at) };
      if (!desk.hand.current) show();
      else desk.betweenImages = show;
    } catch {
      // The next lease says so again.
    } finally {
      isReading = false;
    }
  }

  function show() {
    desk.betweenImages = null;
    if (!next) return;
    const words = changeWords(desk.classes, next.classes);
    desk.version = next.version;
    desk.classes.splice(0, Infinity, ...next.classes.map(({ name, position }) => ({ name, position, key: null })));
    next = null;
    // The same keys again: every class finds its own by its position, and all buttons are drawn anew.
    desk.keys.save(desk.keys.own);
    if (words) desk.view.toast(words);
  }

  /** An answer said a class that is no more: the image comes again, right after the one in view. @param {import("./outbox.js").Entry} entry */
  async function askAnew(entry) {
    anew.set(entry.sampleId, entry.key);
    // With the new classes at hand first, so that it is not shown beside the old buttons once more.
    await read();
    desk.hand.comeNext({ id: entry.assignmentId, sampleId: entry.sampleId, url: entry.imageUrl ?? "", width: 0, height: 0, why: `“${entry.className}” was split`, image: null, state: "loading", tries: 0 });
    desk.view.toast(`“${entry.className}” was split. That image comes again, next.`);
  }

  /** Once it was answered anew, the answer of before need not be kept. @param {import("./outbox.js").Entry} entry */
  function sent(entry) {
    const before = anew.get(entry.sampleId);
    if (!before || before === entry.key) return;
    anew.delete(entry.sampleId);
    desk.sender.dismiss(before);
  }

  return { read, askAnew, sent };
}

/**
 * What has changed, in one line: a class is the same where its position is.
 * @param {{name: string, position: number}[]} before @param {{name: string, position: number}[]} after
 */
export function changeWords(before, after) {
  const now = new Map(after.map((known) => [known.position, known.name]));
  const then = new Map(before.map((known) => [known.position, known.name]));
  const renamed = before.filter(({ name, position }) => now.has(position) && now.get(position) !== name).map(({ name, position }) => `“${name}” is “${now.get(position)}”`);
  const gone = before.filter(({ position }) => !now.has(position)).map(({ name }) => `“${name}”`);
  const fresh = after.filter(({ position }) => !then.has(position)).map(({ name }) => `“${name}”`);
  const parts = [...some(renamed, ""), ...some(fresh, "new: "), ...some(gone, "gone: ")];
  return parts.length ? `The classes have changed. ${parts.join("; ")}.` : "";
}

const some = (names, lead) => (names.length ? [`${lead}${names.slice(0, NAMED).join(", ")}${names.length > NAMED ? ` and ${names.length - NAMED} more` : ""}`] : []);
