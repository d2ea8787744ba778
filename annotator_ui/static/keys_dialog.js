// The dialog in which a person chooses other keys. Who had the chosen key is said, and can take the other one.

import { el, openDialog, setText } from "./dom.js";
import { wordsOf } from "./key_words.js";
import { ACTIONS, CLASS_KEYS, FIXED, capOf, keyName } from "./keys.js";
import { sendSettings } from "./own_settings.js";

const NAMED = ["backspace", "delete", "insert", "home", "end", "pageup", "pagedown", "arrowleft", "arrowright", "arrowup", "arrowdown"];
const SHOWN_CLASSES = CLASS_KEYS.length;

/** One line of the dialog. @typedef {{part: "actions"|"classes", id: string, name: string}} Line */

/**
 * @param {ReturnType<import("./key_store.js").createKeyStore>} store
 * @param {import("./class_buttons.js").ClassInfo[]} classes
 */
export function createKeysDialog(store, classes) {
  const say = el("div", { class: "keys-say", role: "status" });
  const lists = { classes: el("ul", { class: "keys-list", "aria-label": "Classes" }), actions: el("ul", { class: "keys-list", "aria-label": "Actions" }) };
  const many = el("p", { class: "quiet small", text: `The first ${SHOWN_CLASSES} classes and those with a key of yours are listed; the others are found by typing.`, hidden: classes.length <= SHOWN_CLASSES });
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog keys-dialog", id: "keys-dialog", "aria-labelledby": "keys-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "keys-title", text: "Your keys" }), el("button", { class: "icon-button", type: "button", "aria-label": "Close", "data-close": true }, el("span", { class: "cap", text: "Esc" }))),
    el("p", { class: "quiet", text: "Choose a line, then press its new key. Kept for you in every browser, the same in every project; classes go by their place." }),
    say,
    el("h3", { text: "Classes" }), lists.classes, many, el("h3", { text: "Actions" }), lists.actions,
    el("div", { class: "row end" }, el("button", { class: "button", type: "button", text: "Standard keys", on: { click: reset } }), el("button", { class: "button primary", type: "button", text: "Done", "data-close": true })),
  ));
  /** @type {Line|null} */ let waiting = null;
  document.body.append(dialog);

  const keyOf = (line) => (line.part === "actions" ? store.map.actionKeys(line.id)[0] : store.map.classKey(Number(line.id))) ?? null;
  /** @returns {Line[]} */
  const lines = () => [
    ...classes.filter((info) => info.position < SHOWN_CLASSES || info.key).map((info) => ({ part: /** @type {const} */ ("classes"), id: String(info.position), name: info.name })),
    ...ACTIONS.filter((action) => !FIXED.includes(action.id)).map((action) => ({ part: /** @type {const} */ ("actions"), id: action.id, name: wordsOf(action).label })),
  ];

  function draw() {
    for (const part of /** @type {const} */ (["classes", "actions"])) lists[part].replaceChildren(...lines().filter((line) => line.part === part).map(row));
  }

  /** @param {Line} line */
  function row(line) {
    const key = keyOf(line);
    const isWaiting = waiting?.part === line.part && waiting.id === line.id;
    return el("li", {}, el("button", { type: "button", dataset: { line: `${line.part}:${line.id}` }, "aria-pressed": String(isWaiting), on: { click: () => wait(line) } },
      el("span", { class: "name", text: line.name }), isWaiting ? el("span", { class: "press", text: "press a key" }) : key ? el("span", { class: "cap", text: capOf(key) }) : el("span", { class: "quiet small", text: "no key" })));
  }

  /** @param {Line} line */
  function wait(line) {
    waiting = line;
    tell(`Press the new key of ${line.name}; Esc leaves it as it is.`);
    draw();
    focus(line);
  }

  const focus = (line) => /** @type {HTMLElement|null} */ (dialog.querySelector(`[data-line="${line.part}:${line.id}"]`))?.focus();

  /** @param {string} words @param {...Node} buttons */
  function tell(words, ...buttons) {
    say.replaceChildren(el("p", { text: words }), ...(buttons.length ? [el("div", { class: "row" }, ...buttons)] : []));
  }

  /** Give that line the key; `freed` says what the one who had it gets. @param {Line} line @param {string} key @param {{line: Line, key: string}|null} freed */
  function give(line, key, freed) {
    const own = { actions: { ...store.own.actions }, classes: { ...store.own.classes } };
    own[line.part][line.id] = key;
    if (freed) own[freed.line.part][freed.line.id] = freed.key;
    waiting = null;
    keep(own);
    const after = freed ? (freed.key ? ` ${freed.line.name} has ${capOf(freed.key)} now.` : ` ${freed.line.name} has no key now.`) : "";
    tell(`${line.name} has ${capOf(key)} now.${after}`);
    draw();
    focus(line);
  }

  /** @param {import("./keys.js").OwnKeys} own */
  function keep(own) {
    store.save(own);
    sendSettings({ keys: own });
  }

  function pressed(line, key) {
    const meant = store.map.holder(key);
    const other = meant && lines().find((item) => ("action" in meant ? item.part === "actions" && item.id === meant.action : item.part === "classes" && item.id === String(meant.position)));
    if (other && other.part === line.part && other.id === line.id) return give(line, key, null);
    if (!other) return meant ? tell(`${capOf(key)} cannot be changed.`) : give(line, key, null);
    const before = keyOf(line);
    const choose = (text, freed) => el("button", { class: "button small-button", type: "button", text, on: { click: () => give(line, key, { line: other, key: freed }) } });
    waiting = null;
    draw();
    tell(`${capOf(key)} is the key of ${other.name}.`, ...(before ? [choose(`Swap: ${other.name} gets ${capOf(before)}`, before)] : []), choose(`Take it: ${other.name} has none then`, ""), el("button", { class: "button small-button", type: "button", text: "Leave it", on: { click: () => { setText(say, ""); focus(line); } } }));
    return /** @type {HTMLElement|null} */ (say.querySelector("button"))?.focus();
  }

  function reset() {
    waiting = null;
    keep({ actions: {}, classes: {} });
    tell("All keys are the standard ones again.");
    draw();
  }

  dialog.addEventListener("keydown", (event) => {
    if (!waiting || event.isComposing || ["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return;
    const line = waiting;
    const key = keyName(event);
    if (event.key === "Escape") { waiting = null; setText(say, ""); draw(); focus(line); }
    else if (event.ctrlKey || event.metaKey || event.altKey) tell("Keys with Ctrl, Alt or Cmd belong to the browser. Press a single key.");
    else if (event.key.length > 1 && !NAMED.includes(event.key.toLowerCase())) tell(`${event.key} cannot be used here. Press a letter, a digit or a sign.`);
    else pressed(line, key);
  });
  dialog.addEventListener("cancel", (event) => { if (waiting) event.preventDefault(); });
  return {
    open() {
      waiting = null;
      setText(say, "");
      draw();
      openDialog(dialog);
    },
  };
}
