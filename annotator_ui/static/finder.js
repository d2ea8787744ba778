// Type to find a class: for many classes, or when a key does not come to mind.

import { byId, el, openDialog } from "./dom.js";
import { capOf } from "./keys.js";

const SHOWN = 60;

/**
 * Best matches first: name starts so, a word starts so, contains it, has the letters in order; with or without the marks on
 * letters, those that are written just so before the others.
 * @template {{name: string}} T
 * @param {T[]} classes @param {string} query @returns {{info: T, letters: Set<number>}[]}
 */
export function findClasses(classes, query) {
  const typed = query.trim().normalize().toLowerCase();
  const wanted = plain(typed);
  if (!typed) return classes.map((info) => ({ info, letters: new Set() }));
  return classes
    .map((info, at) => ({ info, at, ...match(plain(info.name), wanted), isSo: info.name.normalize().toLowerCase().includes(typed) }))
    .filter((found) => found.rank < 9)
    .map(({ info, at, rank, letters, isSo }) => ({ info, at, rank: isSo ? rank : rank + 0.5, letters: lettersOf(info.name, letters) }))
    .sort((a, b) => a.rank - b.rank || a.at - b.at);
}

/** "Äpfel" -> "apfel" @param {string} text */
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

/** Which letters of the name those of its plain text are: one may become more, or none. @param {string} name @param {Set<number>} found */
function lettersOf(name, found) {
  const origins = [...name].flatMap((letter, position) => Array(plain(letter).length).fill(position));
  return new Set([...found].map((at) => origins[at]));
}

/** @param {string} name @param {string} wanted */
function match(name, wanted) {
  const range = (start) => new Set(Array.from({ length: wanted.length }, (_, offset) => start + offset));
  if (name.startsWith(wanted)) return { rank: name === wanted ? 0 : 1, letters: range(0) };
  const word = name.search(new RegExp(`[\\s_\\-./]${wanted.replace(/[^\w\s]/g, "\\$&")}`));
  if (word >= 0) return { rank: 2, letters: range(word + 1) };
  if (name.includes(wanted)) return { rank: 3, letters: range(name.indexOf(wanted)) };
  const letters = new Set();
  let from = 0;
  for (const letter of wanted) {
    const at = name.indexOf(letter, from);
    if (at < 0) return { rank: 9, letters };
    letters.add(at);
    from = at + 1;
  }
  return { rank: 4, letters };
}

/**
 * @param {import("./class_buttons.js").ClassInfo[]} classes @param {ReturnType<import("./recent.js").createRecent>} recent
 * @param {(name: string) => void} choose
 */
export function createFinder(classes, recent, choose) {
  const dialog = byId("finder");
  const input = byId("finder-input");
  const list = byId("finder-list");
  let found = [];
  let selected = 0;

  function search() {
    // Likely ones first if the person has asked for them, then those chosen last, when nothing is typed.
    const order = new Map([...new Set([...recent.likely, ...recent.names])].map((name, at) => [name, at]));
    const pool = input.value.trim() ? classes : [...classes].sort((a, b) => (order.get(a.name) ?? 999) - (order.get(b.name) ?? 999));
    found = findClasses(pool, input.value).slice(0, SHOWN);
    selected = 0;
    draw();
  }

  function draw() {
    list.replaceChildren(...found.map(row));
    if (!found.length) list.append(el("li", { class: "none", text: `No class matches “${input.value.trim()}”.` }));
    mark();
  }

  function row({ info, letters }, at) {
    const name = el("span", {}, ...[...info.name].map((letter, position) => (letters.has(position) ? el("mark", { text: letter }) : letter)));
    return el("li", { role: "option", id: `found-${at}`, class: `c${info.position % 8}`, on: { click: () => pick(at) } }, el("i", { "aria-hidden": "true" }), name, info.key && el("kbd", { text: capOf(info.key) }));
  }

  function mark() {
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(found.length > 0 && at === selected)));
    if (found.length) input.setAttribute("aria-activedescendant", `found-${selected}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[selected]?.scrollIntoView({ block: "nearest" });
  }

  function pick(at) {
    const name = found[at]?.info.name;
    if (!name) return;
    dialog.close();
    choose(name);
  }

  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    // A finder that has just been closed may have the focus for one more moment.
    if (event.isComposing || !dialog.open) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) selected = (selected + step + found.length) % found.length;
    else if (event.key === "Enter" && !event.repeat) pick(selected);
    else if (!step) return;
    event.preventDefault();
    mark();
  });
  return {
    open() {
      input.value = "";
      openDialog(dialog);
      search();
      input.focus();
    },
  };
}
