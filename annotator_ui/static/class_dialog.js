// The dialog that changes classes: whatever is typed is previewed in words and numbers; only then is there a button.

import { UnreachableError, goToSignIn } from "./api.js";
import { classNames } from "./class_names.js";
import { byId, el, openDialog, plural, setText } from "./dom.js";

const PAUSE_MS = 250;
const SHOWN = 20;
const AWAY = "The server does not answer. Nothing was changed.";

/**
 * @typedef {import("./classes_list.js").ClassState} ClassState
 * @typedef {{body?: Record<string, any>, words?: string[]}} Wish
 */

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} path
 * @param {{classes: () => ClassState[], done: (words: string) => void}} page
 */
export function createChangeDialog(api, path, page) {
  const dialog = byId("change-dialog");
  const fields = byId("change-fields");
  const apply = byId("change-do");
  /** What is asked for now: with a body once there is enough of it, with words for what is typed or what it lacks. @type {() => Wish} */ let read = () => ({});
  /** The wish that the words on the screen are about, with the version of the classes. @type {Record<string, any>|null} */ let seen = null;
  let doneWords = "";
  let timer = 0;
  let asked = 0;

  function open(title, verb, words, parts, reader) {
    setText(byId("change-title"), title);
    setText(apply, verb);
    fields.replaceChildren(...parts);
    doneWords = words;
    read = reader;
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
    const { body, words = [] } = read();
    seen = null;
    apply.disabled = true;
    say("");
    list(words);
    if (!body) return undefined;
    try {
      const found = await api.call("POST", `${path}/classes/preview`, body);
      if (turn !== asked) return undefined;
      list([...words, ...found.words]);
      seen = { ...body, version: found.version };
      apply.disabled = false;
    } catch (error) {
      if (turn !== asked) return undefined;
      list([]);
      failed(error);
    }
    return undefined;
  }

  function failed(error) {
    if (error.status === 401) return goToSignIn();
    say(error instanceof UnreachableError || !error.message ? AWAY : error.message);
    return undefined;
  }

  /** @param {string[]} words */
  const list = (words) => byId("change-words").replaceChildren(...words.map((text) => el("li", { text })));
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
  const names = (input) => classNames(/** @type {HTMLTextAreaElement} */ (input).value);
  const area = () => el("textarea", { rows: "3", spellcheck: "false", autocomplete: "off" });

  return {
    add() {
      const input = area();
      open("Add classes", "Add", "Added. Labelers see the new classes from their next image on.", [field("Names, one per line or with commas", input, "Each takes the next free key.")], () => additions(names(input), page.classes().map((known) => known.name)));
      input.focus();
    },
    /** @param {ClassState} known @param {string} name */
    rename(known, name) {
      open(`Rename “${known.name}” to “${name}”`, "Rename", `“${known.name}” is “${name}” now.`, [], () => ({ body: { op: "rename", class_name: known.name, new_name: name } }));
    },
    /** @param {ClassState} known */
    merge(known) {
      const select = /** @type {HTMLSelectElement} */ (el("select", {}, el("option", { value: "", text: "Choose a class" }), ...page.classes().filter((other) => other.id !== known.id).map((other) => el("option", { value: other.name, text: other.name }))));
      open(`Merge “${known.name}” into another class`, "Merge", `“${known.name}” is merged.`, [field("It becomes part of", select)], () => (select.value ? { body: { op: "merge", class_name: known.name, into: select.value } } : { words: ["Choose the class that it becomes part of."] }));
      select.focus();
    },
    /** @param {ClassState} known */
    split(known) {
      const input = area();
      open(`Split “${known.name}”`, "Split", `“${known.name}” is split. Its images are asked again; the list of merged and split classes shows how far that is.`, [field("New classes, one per line or with commas", input, "Two or more. They need names of their own, because old answers still say the old name.")], () => parts(known.name, names(input)));
      input.focus();
    },
  };
}

/** What adding these names does: those that are classes already are left as they are. @param {string[]} names @param {string[]} there @returns {Wish} */
function additions(names, there) {
  const fresh = names.filter((name) => !there.includes(name));
  const known = names.filter((name) => there.includes(name));
  if (!names.length) return { words: ["Type the name of a class."] };
  if (!fresh.length) return { words: [`${listed(known)} ${known.length === 1 ? "is a class" : "are classes"} already. Type a name that is not there yet.`] };
  const words = `${plural(fresh.length, "new class", "new classes")}: ${listed(fresh)}${known.length ? ` · there already: ${listed(known)}` : ""}`;
  return { body: { op: "add", names: fresh }, words: [words] };
}

/** Into which classes that one is split. @param {string} name @param {string[]} names @returns {Wish} */
function parts(name, names) {
  if (names.length > 1) return { body: { op: "split", class_name: name, parts: names }, words: [`${plural(names.length, "new class", "new classes")}: ${listed(names)}`] };
  return { words: [names.length ? `“${names[0]}” alone would be a new name. Type a second class, or close this and rename “${name}”.` : "Type the names of two or more classes."] };
}

/** @param {string[]} names */
const listed = (names) => `${names.slice(0, SHOWN).join(", ")}${names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ""}`;
