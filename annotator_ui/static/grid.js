// Grid mode: a group of look-alikes at once, one key labels what is selected. Comes when `g` is pressed.
//
// A fresh group starts with all of it selected: look-alikes mostly share a class, so taking out the odd ones is less work than
// picking the others, and all of a group fits on the screen, so nothing is labelled that cannot be seen. What is left after a
// stroke was taken out on purpose and starts unselected. A group answers to no key until it has been there for a moment.

import { byId, el, isTyping, plural, setText } from "./dom.js";
import { createFocusBack } from "./focus_back.js";
import { bestColumns, createChoice } from "./grid_choice.js";
import { wireGridPointer } from "./grid_pointer.js";

const HELD = 48; // two groups: the next one is there when this one is done
const SHOWN_MAX = 24;
const UNGROUPED_MAX = 12;
const LOOK_MS = 700; // nobody has seen a new group in less
const GAP_PX = 6;
const THUMB_PX = 256;
const NARROW_PX = 760; // the whole hint does not fit there
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

/** @typedef {import("./hand.js").Item} Item */

/**
 * @param {import("./label.js").Desk} desk
 * @param {ReturnType<import("./label_stage.js").createStage>} stage
 * @param {ReturnType<import("./label_answers.js").createAnswers>} answers
 * @param {() => void} ask
 */
export function createGrid(desk, stage, answers, ask) {
  const { view } = desk;
  const choice = createChoice();
  const focusBack = createFocusBack(desk.actionButtons);
  /** @type {Map<number, HTMLElement>} in order */ const tiles = new Map();
  /** @type {Map<number, Item>} */ let items = new Map();
  /** @type {string|null} */ let group = null;
  let groups = 0;
  /** What the server said last, and how many groups there are by that. @type {{waiting: number|null}|null} */ let said = null;
  let total = 0;
  let active = 0;
  let readyTimer = 0;
  let isOpen = false;
  let hovered = 0;

  const title = el("h2", { id: "grid-title" });
  const chosen = el("span", { class: "quiet", id: "grid-chosen", role: "status" });
  const box = el("div", { class: "grid-tiles", id: "grid-tiles", role: "listbox", tabindex: "0", "aria-multiselectable": "true", "aria-labelledby": "grid-title", "aria-describedby": "grid-chosen" });
  const closer = el("div", { class: "grid-close-up", id: "grid-close-up", hidden: true, on: { click: () => lookClosely(0) } });
  const button = (text, cap, press) => el("button", { class: "button small-button", type: "button", on: { click: press } }, text, cap && el("span", { class: "cap", text: cap, "aria-hidden": "true" }));
  const root = el("div", { class: "grid", id: "grid", hidden: true },
    el("div", { class: "grid-head" }, title, chosen, el("span", { class: "push" }),
      button("All or none", "Ctrl A", () => { choice.all(ids()); mark(); }), button("One by one", "Esc", close)),
    box, closer);
  byId("stage").append(root);
  wireGridPointer(box, () => tiles, { press: pressed, sweep: (found) => { choice.sweep(found.filter(isThere)); mark(); }, look: lookClosely });
  box.addEventListener("pointermove", (event) => { hovered = Number(/** @type {Element} */ (event.target).closest("[data-sample]")?.getAttribute("data-sample") ?? 0); });
  box.addEventListener("pointerleave", () => { hovered = 0; });
  new ResizeObserver(() => isOpen && arrange()).observe(box);
  document.addEventListener("keydown", onKey, true);

  const ids = () => [...tiles.keys()];
  const isThere = (id) => tiles.get(id)?.dataset.state === "there";

  function open() {
    focusBack.keep();
    if (desk.trail.looked) stage.lookAt(0);
    desk.parts.made("view")?.close();
    desk.parts.made("suggestion")?.close();
    desk.parts.made("similar")?.close();
    isOpen = true;
    group = null;
    desk.hand.wish = HELD;
    desk.actionButtons.inGrid(true);
    ask();
    stage.show();
    box.focus({ preventScroll: true });
  }

  function close() {
    if (!isOpen) return false;
    isOpen = false;
    desk.hand.wish = 0;
    desk.actionButtons.inGrid(false);
    root.hidden = true;
    lookClosely(0);
    stage.show();
    focusBack.giveBack();
    return true;
  }

  /** Show what is in hand; true when the grid shows something. */
  function draw() {
    const current = desk.hand.current;
    root.hidden = !isOpen || !current || desk.trail.looked > 0;
    if (!isOpen || root.hidden) return false;
    let members = membersOf(group);
    const isNew = !members.length;
    if (isNew) {
      group = groupOf(current);
      members = membersOf(group);
      groups += 1;
    }
    items = new Map(members.map((item) => [item.sampleId, item]));
    for (const [id, node] of tiles) if (!items.has(id)) { node.remove(); tiles.delete(id); }
    const fresh = members.filter((item) => !tiles.has(item.sampleId));
    fresh.forEach(add);
    if (isNew) active = 0;
    // What joins a group that is new itself belongs to it; what comes later has to be picked.
    if (isNew || (fresh.length && root.dataset.ready !== "true")) {
      choice.start(group === "" ? [] : [...fresh.map((item) => item.sampleId), ...(isNew ? [] : selected())]);
      root.dataset.ready = "false";
      clearTimeout(readyTimer);
      readyTimer = setTimeout(() => { root.dataset.ready = "true"; }, LOOK_MS);
    }
    choice.keep(ids());
    desk.pace.shown(current.sampleId);
    view.showGrid(ids().join(" "), innerWidth < NARROW_PX ? "Tap images out or in, then a class." : "A class key labels what is selected. Click or Space takes an image out or in, S skips the rest.");
    setText(title, group === "" ? `${plural(members.length, "image")}, not grouped` : `${plural(members.length, "look-alike")} · group ${place()}`);
    arrange();
    mark();
    return true;
  }

  /** "3 of 9" as far as the server has said how many wait. */
  function place() {
    if (desk.hand.groups !== said) {
      said = desk.hand.groups;
      total = said.waiting === null ? 0 : groups - 1 + said.waiting;
    }
    return total ? `${groups} of ${Math.max(groups, total)}` : String(groups);
  }

  /** The images of that group, those on the screen first. @param {string|null} wanted */
  function membersOf(wanted) {
    if (wanted === null) return [];
    const found = desk.hand.items.filter((item) => groupOf(item) === wanted);
    const shown = ids().flatMap((id) => found.filter((item) => item.sampleId === id));
    return [...shown, ...found.filter((item) => !tiles.has(item.sampleId))].slice(0, wanted === "" ? UNGROUPED_MAX : SHOWN_MAX);
  }

  /** @param {Item} item */
  function add(item) {
    const image = /** @type {HTMLImageElement} */ (el("img", { alt: "", draggable: "false", class: Math.max(item.width, item.height) <= 28 ? "pixels" : null }));
    const tile = el("div", { class: "tile", role: "option", id: `tile-${item.sampleId}`, "aria-label": `Image ${item.sampleId}`, dataset: { sample: String(item.sampleId), state: "loading" } }, image);
    image.onload = () => { tile.dataset.state = "there"; };
    image.onerror = () => { tile.dataset.state = "broken"; };
    image.src = Math.max(item.width, item.height) > THUMB_PX ? item.url.replace("size=1024", `size=${THUMB_PX}`) : item.url;
    tiles.set(item.sampleId, tile);
    box.append(tile);
  }

  function arrange() {
    const { columns, side } = bestColumns(Math.max(1, tiles.size), box.clientWidth, box.clientHeight, GAP_PX);
    box.style.setProperty("--columns", String(columns));
    box.style.setProperty("--side", `${side}px`);
  }

  function mark() {
    active = Math.max(0, Math.min(active, tiles.size - 1));
    ids().forEach((id, at) => {
      const tile = /** @type {HTMLElement} */ (tiles.get(id));
      tile.setAttribute("aria-selected", String(choice.has(id)));
      tile.classList.toggle("active", at === active);
      if (at === active) box.setAttribute("aria-activedescendant", tile.id);
    });
    setText(chosen, `${choice.size} selected`);
    desk.classButtons.setOff(!choice.size);
  }

  /** @param {number} id @param {boolean} isRange */
  function pressed(id, isRange) {
    active = ids().indexOf(id);
    if (isRange) choice.range(ids(), id);
    else choice.toggle(id);
    mark();
  }

  // Arrows move, Space selects; Ctrl A is the browser's otherwise. The rest are actions of the key map.
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!isOpen || root.hidden || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (isTyping(target) || target.closest("button, a")) return;
    const columns = Number(box.style.getPropertyValue("--columns")) || 1;
    const step = STEPS[event.key] ?? { ArrowUp: -columns, ArrowDown: columns }[event.key];
    const all = ids();
    if (step !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.shiftKey) choice.range(all, all[active]);
      if (all[active + step] !== undefined) active += step;
      if (event.shiftKey) choice.range(all, all[active]);
      mark();
      if (!closer.hidden) lookClosely(all[active]);
    } else if (event.key === " ") {
      if (!event.repeat) pressed(all[active], event.shiftKey);
    } else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a") {
      choice.all(all);
      mark();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** One stroke for all of these images. @param {number[]} wanted @param {"label"|"skip"|"flag"} kind @param {string|null} className @param {() => void} light */
  function stroke(wanted, kind, className, light) {
    if (!wanted.length) return view.toast("Nothing is selected.");
    if (root.dataset.ready !== "true" && wanted.length > 1) return view.toast("A new group. Look first.");
    if (kind === "label" && !wanted.every(isThere)) return view.toast("Some of these images are not there yet.");
    return view.afterPaint(() => {
      const given = wanted.flatMap((id) => items.get(id) ?? []).filter((item) => desk.hand.items.includes(item));
      if (!given.length) return;
      light();
      if (given.length > 1) view.toast(`${given.length} × ${className ?? (kind === "skip" ? "skipped" : "flagged")}. Undo takes all of them back.`);
      answers.giveAll(given, kind, className);
    });
  }

  const selected = () => ids().filter((id) => choice.has(id));

  /** Show an image large, or none. @param {number} id */
  function lookClosely(id) {
    const item = items.get(id);
    closer.hidden = !item;
    closer.replaceChildren();
    if (item) closer.append(el("img", { src: item.url, alt: `Image ${id}, large`, class: Math.max(item.width, item.height) <= 28 ? "pixels" : null }));
  }

  const light = (id) => () => desk.actionButtons.light(id);
  const work = {
    skip: () => stroke(ids(), "skip", null, light("skip")),
    similar: () => stroke(ids(), "skip", null, light("skip")),
    flag: () => stroke(selected(), "flag", null, light("flag")),
    undo: () => { light("undo")(); answers.undo(); },
    zoom: () => lookClosely(closer.hidden ? hovered || ids()[active] : 0),
    grid: close,
    close: () => (closer.hidden ? close() : lookClosely(0)),
  };
  /** What the grid leaves to the page. */
  const OTHERS = ["help", "guide", "find", "examples"];

  return {
    draw, close,
    toggle: () => (isOpen ? close() : open()),
    /** True when the grid took it. @param {string} id */
    act(id) {
      if (!isOpen || root.hidden || OTHERS.includes(id)) return isOpen && id === "grid" && close();
      work[id]?.();
      return true;
    },
    /** @param {string} name */
    choose(name) {
      if (!isOpen || root.hidden) return false;
      stroke(selected(), "label", name, () => desk.classButtons.light(name));
      return true;
    },
    /** These images are asked again: show them, selected as they were. @param {Item[]} back */
    backAgain(back) {
      if (!isOpen || !back.length) return;
      group = groupOf(back[0]);
      draw();
      choice.start(back.map((item) => item.sampleId).filter((id) => tiles.has(id)));
      mark();
    },
    get isOpen() { return isOpen; },
  };
}

/** "" for an image that is in no group. @param {Item} item */
const groupOf = (item) => item.group ?? "";
