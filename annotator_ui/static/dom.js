// Building and finding elements. Text only ever goes in as text, never as HTML.

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `text`, `on` (event -> handler), `dataset`; everything else is an attribute
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element with that id; missing ones are a bug in the template. @param {string} id @returns {any} */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** Set text only when it changed, so that live regions stay quiet. @param {Element} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en-US");
/** 1204 -> "1,204" @param {number} value */
export const count = (value) => whole.format(value);
/** (1, "answer") -> "1 answer" @param {number} value @param {string} word @param {string} [many] */
export const plural = (value, word, many = `${word}s`) => `${count(value)} ${value === 1 ? word : many}`;
/** 0.8234 -> "82.3 %" @param {number} part @param {number} [digits] */
export const percent = (part, digits = 1) => `${(part * 100).toFixed(digits)} %`;

/** 3.4 -> "3.4 s", 75 -> "1 min 15 s", 7300 -> "2 h 2 min" @param {number} value */
export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min${minutes < 10 && Math.round(value % 60) ? ` ${Math.floor(value % 60)} s` : ""}`;
  return `${count(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

/** Open a modal dialog whose [data-close] buttons and backdrop close it. @param {HTMLDialogElement} dialog */
export function openDialog(dialog) {
  if (dialog.open) return;
  if (!dialog.dataset.wired) {
    dialog.dataset.wired = "1";
    dialog.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      if (target.closest("[data-close]")) dialog.close();
      else if (target === dialog && !dialog.dataset.stay && !insideBox(dialog, event)) dialog.close();
    });
  }
  dialog.showModal();
  // Focus on the dialog itself unless there is something to type, so that no button looks pressed.
  if (!dialog.querySelector("input:not([type=checkbox])")) {
    dialog.tabIndex = -1;
    dialog.focus();
  }
}

/**
 * Whether a key pressed there belongs to a field or a menu. A field of a dialog that was closed a moment ago still has
 * the focus until the browser paints again: what comes next is meant for the page.
 * @param {Element} target
 */
export const isTyping = (target) => Boolean(target.closest("input, textarea, select, [popover]") && !target.closest("dialog:not([open])"));

function insideBox(dialog, event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
}
