// The key map as data: which key does what, and what is printed on its cap. Everything else reads it from here.

/** Keys of the first classes, in order. Letters that do something else (u f h s g z i) are left out. */
export const CLASS_KEYS = [..."1234567890", ..."qwertyopadjklxcvbnm"];

/**
 * `keys` are KeyboardEvent.key values in lower case; `caps` are printed.
 * @typedef {{id: string, label: string, keys: string[], caps: string[], ctrl?: string, button?: boolean, help: string}} Action
 * @type {Action[]}
 */
export const ACTIONS = [
  { id: "find", label: "Find", keys: ["/"], caps: ["/"], button: true, help: "type to find a class" },
  { id: "skip", label: "Skip", keys: [" "], caps: ["Space"], button: true, help: "skip: someone else may know" },
  { id: "flag", label: "Flag", keys: ["f"], caps: ["F"], button: true, help: "flag: broken, unreadable or not for this project" },
  { id: "undo", label: "Undo", keys: ["u", "backspace"], ctrl: "z", caps: ["U", "⌫"], button: true, help: "take the last answer back (also Ctrl Z)" },
  { id: "back", label: "Look back", keys: ["arrowleft"], caps: ["←", "→"], help: "look back at earlier answers and forth; U takes back the one you see" },
  { id: "forward", label: "Forward", keys: ["arrowright"], caps: [], help: "" },
  { id: "zoom", label: "Zoom", keys: ["z"], caps: ["Z"], help: "zoom in where the pointer is, and out again" },
  { id: "larger", label: "Larger", keys: ["+", "="], caps: ["+", "−"], help: "larger, smaller" },
  { id: "smaller", label: "Smaller", keys: ["-"], caps: [], help: "" },
  { id: "pixels", label: "Pixels", keys: ["."], caps: ["."], help: "show sharp pixels or smooth them" },
  { id: "guide", label: "Guidelines", keys: ["i"], caps: ["I"], help: "guidelines of this project" },
  { id: "help", label: "Help", keys: ["?"], caps: ["?"], help: "this list" },
  { id: "close", label: "Close", keys: ["escape"], caps: ["Esc"], help: "close whatever is open" },
];

const BY_KEY = new Map(ACTIONS.flatMap((action) => action.keys.map((key) => [key, action])));
const BY_CTRL = new Map(ACTIONS.filter((action) => action.ctrl).map((action) => [action.ctrl, action]));

/**
 * The key of each class, null where keys run out. A class that is named by a digit gets that digit: nobody can learn to
 * press 1 for a zero. The others get the keys that are left, in order.
 * @param {string[]} names @returns {(string|null)[]}
 */
export function classKeys(names) {
  const own = names.map((name) => (/^[0-9]$/.test(name) ? name : null));
  const free = CLASS_KEYS.filter((key) => !own.includes(key));
  return own.map((key) => key ?? free.shift() ?? null);
}

/** @param {string} id @returns {Action} */
export const actionOf = (id) => /** @type {Action} */ (ACTIONS.find((action) => action.id === id));

/**
 * What a key press means: a class key, an action, or null when it is not ours.
 * @param {KeyboardEvent} event
 * @returns {{classKey: string} | {action: string} | null}
 */
export function meaning(event) {
  const key = event.key.toLowerCase();
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) {
    const action = event.shiftKey ? undefined : BY_CTRL.get(key);
    return action ? { action: action.id } : null;
  }
  const action = BY_KEY.get(key);
  if (action) return { action: action.id };
  if (CLASS_KEYS.includes(key) && !(event.shiftKey && event.code.startsWith("Digit"))) return { classKey: key };
  return fromPhysicalKey(event);
}

// Digits on layouts that need Shift for them (French), and letters on non-Latin layouts: go by the place of the key.
function fromPhysicalKey(event) {
  if (event.shiftKey) return null;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  if (digit) return { classKey: digit[1] };
  const letter = /^Key([A-Z])$/.exec(event.code);
  if (!letter || /^[a-z]$/i.test(event.key)) return null;
  const key = letter[1].toLowerCase();
  const action = BY_KEY.get(key);
  if (action) return { action: action.id };
  return CLASS_KEYS.includes(key) ? { classKey: key } : null;
}
