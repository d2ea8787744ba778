// The key map as data: which key does what, and what is printed on its cap. Everything else reads it from here.

/** Keys of the first classes, by their position in the project. Letters that do something else are left out. */
export const CLASS_KEYS = [..."1234567890", ..."qwertyopadjklxnm"];

/**
 * `keys` are names as `keyName` gives them; `also` names actions that the help lists in the same line. Actions with a button
 * carry their words; those of the others are in key_words.js, which comes with the dialogs that show them.
 * @typedef {{id: string, keys: string[], also?: string[], ctrl?: string, button?: boolean, label?: string, help?: string}} Action
 * @type {Action[]}
 */
export const ACTIONS = [
  { id: "find", label: "Find", keys: ["/"], button: true, help: "type to find a class" },
  { id: "skip", label: "Skip", keys: [" "], button: true, help: "skip: give it no label now" },
  { id: "flag", label: "Flag", keys: ["f"], button: true, help: "flag: broken, unreadable or not for this project" },
  { id: "accept", label: "Suggest", keys: ["enter"], button: true, help: "show what the model thinks; again: label it so" },
  { id: "undo", label: "Undo", keys: ["u", "backspace"], ctrl: "z", button: true, help: "take the last answer back (also Ctrl Z)" },
  { id: "back", keys: ["arrowleft"], also: ["forward"] },
  { id: "forward", keys: ["arrowright"] },
  { id: "zoom", keys: ["z"] },
  { id: "larger", keys: ["+", "="], also: ["smaller"] },
  { id: "smaller", keys: ["-"] },
  { id: "pan-left", keys: ["shift+arrowleft"], also: ["pan-right", "pan-up", "pan-down"] },
  { id: "pan-right", keys: ["shift+arrowright"] },
  { id: "pan-up", keys: ["shift+arrowup"] },
  { id: "pan-down", keys: ["shift+arrowdown"] },
  { id: "brighter", keys: ["b"], also: ["darker"] },
  { id: "darker", keys: ["shift+b"] },
  { id: "harder", keys: ["c"], also: ["softer"] },
  { id: "softer", keys: ["shift+c"] },
  { id: "plain", keys: [","] },
  { id: "heat", label: "Heat map", keys: ["h"], button: true, help: "show where the model looks; again: hide it" },
  { id: "view", label: "View", keys: ["v"], button: true, help: "zoom, brightness and contrast as buttons" },
  { id: "similar", label: "Similar", keys: ["s"], button: true, help: "images like this one; in the grid: skip the rest" },
  { id: "grid", label: "Grid", keys: ["g"], button: true, help: "label many look-alikes at once; arrows and Space select" },
  { id: "pixels", keys: ["."] },
  { id: "guide", keys: ["i"] },
  { id: "help", keys: ["?"] },
  { id: "close", keys: ["escape"] },
];
/** What a person cannot change: without it nobody would get out again. */
export const FIXED = ["close"];

/**
 * What a person has changed: the key of an action, of a class by its position; "" for none.
 * @typedef {{actions: Record<string, string>, classes: Record<string, string>}} OwnKeys
 * @typedef {{action: string} | {position: number}} Meant
 */

const CAPS = { " ": "Space", arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", backspace: "⌫", escape: "Esc", delete: "Del", insert: "Ins", pageup: "PgUp", pagedown: "PgDn", "-": "−" };

/** What is printed on a key. @param {string} key */
export function capOf(key) {
  if (key.startsWith("shift+")) return `⇧${capOf(key.slice(6))}`;
  return CAPS[key] ?? (key.length === 1 ? key.toUpperCase() : key[0].toUpperCase() + key.slice(1));
}

/** The name of a pressed key; Shift counts where it does not already change the sign. @param {KeyboardEvent} event */
export function keyName(event) {
  const key = event.key.toLowerCase();
  const isOtherSign = key.length === 1 && !isLetter(event.key);
  return event.shiftKey && !isOtherSign && key !== " " ? `shift+${key}` : key;
}

const isLetter = (key) => key.length === 1 && key.toLowerCase() !== key.toUpperCase();

/**
 * The key of each class when nobody changed anything: by its position, which is its for good. A class that is named by a
 * digit has that digit, because nobody can learn to press 1 for a zero; whose place it was gets the other key.
 * @param {{name: string, position: number}[]} classes @returns {Map<number, string>} position -> key
 */
export function standardKeys(classes) {
  const places = new Map(CLASS_KEYS.map((key, position) => [key, position]));
  for (const { name, position } of classes) {
    if (!/^[0-9]$/.test(name)) continue;
    const before = [...places].find(([, place]) => place === position)?.[0];
    if (before) places.set(before, /** @type {number} */ (places.get(name)));
    places.set(name, position);
  }
  return new Map([...places].map(([key, position]) => [position, key]));
}

/**
 * Who has which key: a person's own choice first, then the standard keys that are still free.
 * @param {{name: string, position: number}[]} classes @param {OwnKeys} [own]
 */
export function createKeyMap(classes, own = { actions: {}, classes: {} }) {
  /** @type {Map<string, Meant>} */ const byKey = new Map();
  const standard = standardKeys(classes);
  /** @type {Map<string, string[]>} */ const ofAction = new Map();
  /** @type {Map<number, string|null>} */ const ofClass = new Map();
  const give = (key, meant) => Boolean(key) && !byKey.has(key) && Boolean(byKey.set(key, meant));
  const giveAction = (id, keys) => ofAction.set(id, keys.filter((key) => give(key, { action: id })));
  const giveClass = (position, key) => ofClass.set(position, give(key, { position }) ? key : null);

  for (const id of FIXED) giveAction(id, ACTIONS.find((action) => action.id === id)?.keys ?? []);
  const isOwn = ({ id }) => id in own.actions && !FIXED.includes(id);
  for (const action of ACTIONS) if (isOwn(action)) giveAction(action.id, [own.actions[action.id]]);
  for (const { position } of classes) if (position in own.classes) giveClass(position, own.classes[position]);
  for (const action of ACTIONS) if (!ofAction.has(action.id)) giveAction(action.id, action.keys);
  for (const { position } of classes) if (!ofClass.has(position)) giveClass(position, standard.get(position));

  /** @param {KeyboardEvent} event @returns {Meant|null} */
  function meaning(event) {
    if (event.altKey) return null;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      const action = event.shiftKey ? undefined : ACTIONS.find((item) => item.ctrl === key);
      return action ? { action: action.id } : null;
    }
    if (event.shiftKey && event.code.startsWith("Digit") && /^[0-9]$/.test(key)) return null;
    return byKey.get(keyName(event)) ?? byKey.get(key) ?? byPlace(event);
  }

  // Digits on layouts that need Shift for them (French), and letters on non-Latin layouts: go by the place of the key.
  function byPlace(event) {
    if (event.shiftKey) return null;
    const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
    if (digit) return byKey.get(digit[1]) ?? null;
    const letter = /^Key([A-Z])$/.exec(event.code);
    return (letter && !/^[a-z]$/i.test(event.key) && byKey.get(letter[1].toLowerCase())) || null;
  }

  return {
    meaning,
    /** @param {string} id */
    actionKeys: (id) => ofAction.get(id) ?? [],
    /** @param {number} position */
    classKey: (position) => ofClass.get(position) ?? null,
    /** @param {string} key */
    holder: (key) => byKey.get(key) ?? null,
  };
}
