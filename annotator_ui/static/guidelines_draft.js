// What was written and is not saved yet, kept in this browser: a click elsewhere, a closed tab and a crash lose nothing.

/**
 * `seen`: the text that the server had when the writing began.
 * @typedef {{text: string, seen: string}} Draft
 */

/** @param {string} scope project and person */
export function createDraft(scope) {
  const name = `al-guidelines:${scope}`;
  let isLost = false;
  // Where this browser keeps nothing, it asks before the page goes.
  addEventListener("beforeunload", (event) => { if (isLost) event.preventDefault(); });
  return {
    /** @returns {Draft|null} */
    read() {
      try {
        const found = JSON.parse(localStorage.getItem(name) ?? "null");
        return typeof found?.text === "string" && typeof found.seen === "string" ? found : null;
      } catch { return null; }
    },
    /** @param {Draft} draft */
    keep(draft) {
      try {
        localStorage.setItem(name, JSON.stringify(draft));
        isLost = false;
      } catch { isLost = true; }
    },
    forget() {
      isLost = false;
      try { localStorage.removeItem(name); } catch { /* then nothing was kept */ }
    },
    /** False where this browser does not keep it. */
    get isKept() { return !isLost; },
  };
}
