// What the service advises after the last measured round: a quiet note for those who can act on it.

import { el } from "./dom.js";

// A command or a setting inside a sentence, quoted or not: shown as code, and with the project's own name in it.
const COMMAND = /`([^`]+)`|\b(al project set \S+(?: \w+=[\w.+-]*\w)+|[a-z]\w*=[\w.+-]*\w)/g;

/** @param {any} metrics of a round @returns {string[]} */
export const adviceOf = (metrics) => (Array.isArray(metrics?.advice) ? metrics.advice : []).map((one) => String(one?.text ?? "")).filter(Boolean);

/** @param {HTMLElement} list @param {string[]} texts @param {string} project */
export function drawAdvice(list, texts, project) {
  list.hidden = !texts.length;
  list.replaceChildren(...texts.map((text) => el("li", {}, ...withCommands(text, project))));
}

function withCommands(text, project) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(COMMAND)) {
    const command = found[1] ?? found[2];
    nodes.push(text.slice(at, found.index), el("code", { text: command.replace(/\bNAME\b/, project) }));
    at = found.index + found[0].length;
  }
  return [...nodes, text.slice(at)];
}
