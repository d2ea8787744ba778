// The guidelines drawer: opens by itself the first time and whenever the text has changed.

import { byId, setText } from "./dom.js";

/** What the drawer says; "": there is none. @param {string} words as they were written @param {boolean} hasExamples */
export const guideWords = (words, hasExamples) => words.trim() || (hasExamples ? "Examples of the classes." : "");

/** @param {string} project @param {() => void} opened */
export function createGuide(project, opened) {
  const panel = byId("guide");
  const button = byId("guide-button");
  const seenName = `al-guide:${project}`;
  let text = "";
  let hasExamples = false;

  function set(on) {
    panel.hidden = !on;
    button.setAttribute("aria-expanded", String(on));
    if (on && hasExamples) opened();
    if (on) try { localStorage.setItem(seenName, text); } catch { /* private mode: it opens again next time */ }
  }
  const seen = () => { try { return localStorage.getItem(seenName); } catch { return null; } };

  button.addEventListener("click", () => set(panel.hidden));
  byId("guide-close").addEventListener("click", () => set(false));
  return {
    /** @param {string} words @param {number} examples how many there are */
    fill(words, examples) {
      hasExamples = examples > 0;
      text = guideWords(words, hasExamples);
      button.hidden = !text;
      setText(byId("guide-text"), text);
      if (text && text !== seen()) set(true);
      if (!text) set(false);
    },
    toggle: () => text && set(panel.hidden),
    close() { const wasOpen = !panel.hidden; set(false); return wasOpen; },
    get hasText() { return Boolean(text); },
  };
}
