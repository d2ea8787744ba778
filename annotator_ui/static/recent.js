// The classes this person chose last, in this project: over reloads too.

const KEPT = 20;

/** @param {string} scope @param {{name: string}[]} classes */
export function createRecent(scope, classes) {
  const stored = `al-recent:${scope}`;
  /** @type {string[]} newest first */ let names = [];
  try { names = JSON.parse(localStorage.getItem(stored) ?? "[]"); } catch { /* nothing kept */ }
  const known = new Set(classes.map((info) => info.name));
  names = names.filter((name) => known.has(name));
  return {
    /** Classes that the model finds likely, while the person has asked to see them. @type {string[]} */ likely: [],
    get names() { return names; },
    /** @param {string} name */
    used(name) {
      names = [name, ...names.filter((other) => other !== name)].slice(0, KEPT);
      try { localStorage.setItem(stored, JSON.stringify(names)); } catch { /* lasts as long as the page */ }
    },
  };
}
