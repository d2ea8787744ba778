// The dialog that changes classes: whatever is typed is previewed in words and numbers; only then is there a button.

import { UnreachableError, goToSignIn } from "./api.js";
import { byId, el, openDialog, setText } from "./dom.js";

const PAUSE_MS = 250;
const AWAY = "The server does not answer. Nothing was changed.";

/** @typedef {import("./classes_list.js").ClassState} ClassState */

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} path
 * @param {{classes: () => ClassState[], done: (words: string) => void}} page
 */
export function createChangeDialog(api, path, page) {
  const dialog = byId("change-dialog");
  const fields = byId("change-fields");
  const apply = byId("change-do");
  /** What is asked for now, or null while a field lacks something. @type {() => Record<string, any>|null} */ let wish = () => null;
  /** The wish that the words on the screen are about, with the version of the classes. @type {Record<string, any>|null} */ let seen = null;
  let doneWords = "";
  let timer = 0;
  let asked = 0;

  function open(title, verb, words, parts, read) {
    setText(byId("change-title"), title);
    setText(apply, verb);
    fields.replaceChildren(...parts);
    doneWords = words;
    wish = read;
    openDialog(dialog);
    preview();
  }

  function typed() {
    seen = null;
    apply.disabled = true;
    clearTimeout(timer);
    timer = setTimeout(preview, PAUSE_MS);
  }

  async function preview() {
    const turn = ++asked;
    const body = wish();
    seen = null;
    apply.disabled = true;
    say("");
    if (!body) return byId("change-words").replaceChildren();
    try {
      const found = await api.call("POST", `${path}/classes/preview`, body);
      if (turn !== asked) return undefined;
      byId("change-words").replaceChildren(...found.words.map((text) => el("li", { text })));
      seen = { ...body, version: found.version };
      apply.disabled = false;
    } catch (error) {
      if (turn !== asked) return undefined;
      byId("change-words").replaceChildren();
      failed(error);
    }
    return undefined;
  }

  function failed(error) {
    if (error.status === 401) return goToSignIn();
    say(error instanceof UnreachableError || !error.message ? AWAY : error.message);
    return undefined;
  }

  const say = (words) => setText(byId("change-error"), words && words[0].toUpperCase() + words.slice(1));

  byId("change-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!seen) return;
    apply.disabled = true;
    try {
      await api.call("POST", `${path}/classes`, seen);
      dialog.close();
      page.done(doneWords);
    } catch (error) {
      // Somebody else changed the classes: the words are about classes that are no more.
      if (error.code === "classes_changed") { page.done(""); await preview(); }
      else apply.disabled = false;
      failed(error);
    }
  });
  dialog.addEventListener("input", typed);

  const field = (text, input, hint) => el("label", { class: "field" }, el("span", { text }), input, hint && el("small", { text: hint }));
  const names = (input) => /** @type {HTMLTextAreaElement} */ (input).value.split("\n").map((name) => name.trim()).filter(Boolean);
  const area = () => el("textarea", { rows: "3", spellcheck: "false", autocomplete: "off" });

  return {
    add() {
      const input = area();
      open("Add classes", "Add", "Added. Labelers see the new classes from their next image on.", [field("Names, one a line", input, "Each takes the next free key.")], () => (names(input).length ? { op: "add", names: names(input) } : null));
      input.focus();
    },
    /** @param {ClassState} known @param {string} name */
    rename(known, name) {
      open(`Rename “${known.name}” to “${name}”`, "Rename", `“${known.name}” is “${name}” now.`, [], () => ({ op: "rename", class_name: known.name, new_name: name }));
    },
    /** @param {ClassState} known */
    merge(known) {
      const select = /** @type {HTMLSelectElement} */ (el("select", {}, el("option", { value: "", text: "Choose a class" }), ...page.classes().filter((other) => other.id !== known.id).map((other) => el("option", { value: other.name, text: other.name }))));
      open(`Merge “${known.name}” into another class`, "Merge", `“${known.name}” is merged.`, [field("It becomes part of", select)], () => (select.value ? { op: "merge", class_name: known.name, into: select.value } : null));
      select.focus();
    },
    /** @param {ClassState} known */
    split(known) {
      const input = area();
      open(`Split “${known.name}”`, "Split", `“${known.name}” is split. Its images are asked again; how far that is stands below.`, [field("New classes, one a line", input, "Two or more. They need names of their own, because old answers still say the old name.")], () => (names(input).length > 1 ? { op: "split", class_name: known.name, parts: names(input) } : null));
      input.focus();
    },
  };
}
