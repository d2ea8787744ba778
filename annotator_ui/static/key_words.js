// The words of actions that have no button: only the dialogs of help and keys show them.

/** @typedef {{label: string, help: string}} Words help is "" where another action's line lists it too */

/** @type {Record<string, Words>} */
const WORDS = {
  back: { label: "Look back", help: "look back at earlier answers and forth; Undo takes back the one you see" },
  forward: { label: "Look forth", help: "" },
  zoom: { label: "Zoom", help: "zoom in where the pointer is, and out again" },
  larger: { label: "Larger", help: "larger, smaller (also the wheel, or two fingers)" },
  smaller: { label: "Smaller", help: "" },
  "pan-left": { label: "Move left", help: "move across the enlarged image (or drag it)" },
  "pan-right": { label: "Move right", help: "" },
  "pan-up": { label: "Move up", help: "" },
  "pan-down": { label: "Move down", help: "" },
  brighter: { label: "Brighter", help: "brighter, darker" },
  darker: { label: "Darker", help: "" },
  harder: { label: "More contrast", help: "more contrast, less" },
  softer: { label: "Less contrast", help: "" },
  plain: { label: "Plain view", help: "size, brightness and contrast as they were" },
  pixels: { label: "Pixels", help: "show sharp pixels or smooth them" },
  guide: { label: "Guidelines", help: "guidelines of this project" },
  help: { label: "Help", help: "this list" },
  close: { label: "Close", help: "close whatever is open" },
};

/** @param {import("./keys.js").Action} action @returns {Words} */
export const wordsOf = ({ id, label = "", help = "" }) => WORDS[id] ?? { label, help };
