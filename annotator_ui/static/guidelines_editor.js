// The text of the guidelines: writing, saving, and what to do when somebody else saved another one meanwhile.

import { ApiError, goToSignIn } from "./api.js";
import { byId, setText } from "./dom.js";
import { createDraft } from "./guidelines_draft.js";
import { troubleWords } from "./retry.js";

const OUTLINE_CLASSES_MAX = 40;

/** As a text field has it. @param {string} text */
const plain = (text) => text.replace(/\r\n?/g, "\n");

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} path of the project
 * @param {{stored: string, scope: string, classes: {name: string}[], written: (text: string) => void}} work stored: what the server has
 */
export function createEditor(api, path, { stored, scope, classes, written }) {
  const area = /** @type {HTMLTextAreaElement} */ (byId("text"));
  const draft = createDraft(scope);
  /** The text that this person has seen on the server: what the next one replaces. */ let seen = stored;
  /** @type {string|null} */ let theirs = null;
  let dropped = "";
  let isSaving = false;

  const isChanged = () => area.value !== plain(seen);

  /** After every change of the text, by whomever. */
  function noted() {
    if (isChanged()) draft.keep({ text: area.value, seen });
    else draft.forget();
    setText(byId("problem"), "");
    draw();
    written(area.value);
  }

  function draw() {
    byId("drop").hidden = !isChanged() || theirs !== null;
    byId("bring-back").hidden = !dropped || isChanged();
    byId("advice").hidden = Boolean(area.value.trim());
    byId("theirs").hidden = theirs === null;
    setText(byId("their-text"), theirs || (theirs === null ? "" : "Nothing: somebody emptied it."));
    if (isChanged()) setText(byId("state"), draft.isKept ? "Not saved yet; kept in this browser." : "Not saved yet. This browser does not keep it: save before you leave.");
    else if (byId("state").textContent.startsWith("Not saved")) setText(byId("state"), "");
  }

  async function save() {
    if (isSaving) return;
    if (!isChanged()) { setText(byId("state"), "There is nothing new to save."); return; }
    const text = area.value;
    isSaving = true;
    byId("save").setAttribute("aria-disabled", "true");
    setText(byId("problem"), "");
    setText(byId("state"), "Saving");
    try {
      await api.call("PATCH", path, { settings: { guidelines: text }, seen: { guidelines: seen } });
      seen = text;
      theirs = null;
      dropped = "";
      noted();
      if (!isChanged()) setText(byId("state"), text.trim() ? "Saved. It opens by itself for everybody who labels." : "Saved. There are no guidelines now.");
    } catch (error) {
      refused(error);
    } finally {
      isSaving = false;
      byId("save").removeAttribute("aria-disabled");
    }
  }

  /** @param {unknown} error */
  function refused(error) {
    if (error instanceof ApiError && error.code === "settings_changed") {
      theirs = String(error.details.guidelines);
      draw();
      byId("theirs-title").focus();
      return;
    }
    const words = error instanceof ApiError && error.status === 413 ? "That is longer than the server takes." : troubleWords(error);
    draw();
    // Whoever signs in again comes back to this page, and to the text.
    if (error instanceof ApiError && error.status === 401 && draft.isKept) goToSignIn();
    setText(byId("problem"), `${words} Your text is not saved${draft.isKept ? "; it is kept in this browser" : ""}.`);
  }

  /** Another text stands in the field; the one of before can be brought back. @param {string} text */
  function replace(text) {
    dropped = area.value;
    area.value = plain(text);
    noted();
    area.focus();
  }

  byId("write").addEventListener("submit", (event) => { event.preventDefault(); save(); });
  area.addEventListener("input", noted);
  byId("drop").addEventListener("click", () => replace(seen));
  byId("bring-back").addEventListener("click", () => { area.value = dropped; dropped = ""; noted(); area.focus(); });
  byId("keep-mine").addEventListener("click", () => { seen = theirs ?? seen; theirs = null; noted(); area.focus(); save(); });
  byId("take-theirs").addEventListener("click", () => { seen = theirs ?? seen; theirs = null; replace(seen); });
  document.getElementById("outline")?.addEventListener("click", () => {
    replace(classes.slice(0, OUTLINE_CLASSES_MAX).map(({ name }) => `${name}: `).join("\n"));
    dropped = "";
    area.setSelectionRange(`${classes[0].name}: `.length, `${classes[0].name}: `.length);
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || event.key.toLowerCase() !== "s") return;
    event.preventDefault();
    if (!event.repeat) save();
  });

  const kept = draft.read();
  area.value = kept?.text ?? plain(stored);
  if (kept && kept.seen !== stored && isChanged()) [seen, theirs] = [kept.seen, stored];
  noted();
}
