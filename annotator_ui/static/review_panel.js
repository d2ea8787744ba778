// The side panel: the image large, what is believed, every vote, what was taken back, guidelines, and the buttons.

import { byId, count, el, percent, plural } from "./dom.js";
import { REVIEW_ACTIONS, capsOf } from "./review_keys.js";
import { beliefWords, marks, standWords, timeWords, voteNotes } from "./review_words.js";

const LOG_AFTER_MS = 250;
const CHIPS_MAX = 24;

/** @typedef {import("./review_rows.js").Row} Row */

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {import("./class_buttons.js").ClassInfo[]} classes
 * @param {{act: (id: string) => void, judge: (name: string) => void, keepMine: (row: Row) => void, takeTheirs: (row: Row) => void}} work
 */
export function createPanel(api, classes, work) {
  const body = byId("side-body");
  /** @type {Map<number, any[]|string>} rows of the log, or why they are not here */ const logs = new Map();
  /** @type {Set<number>} */ const loading = new Set();
  let guidelines = "";
  let timer = 0;
  let isLogOpen = false;
  /** @type {(() => void)|null} */ let again = null;

  const actions = new Map(REVIEW_ACTIONS.filter((action) => action.button).map((action) => [action.id, el(
    "button", { class: "action", type: "button", title: action.help, "aria-keyshortcuts": shortcut(action.keys[0]), dataset: { action: action.id }, on: { click: () => work.act(action.id), mousedown: (event) => event.preventDefault() } },
    el("span", { class: "cap", "aria-hidden": "true", text: capsOf(action.id)[0] }), el("span", { text: action.label }))]));
  byId("actions").replaceChildren(...actions.values());

  const chips = classes.filter((info) => info.key).slice(0, CHIPS_MAX).map((info) => el(
    "button", { class: `chip c${info.position % 8}`, type: "button", title: info.name, "aria-keyshortcuts": info.key, on: { click: () => work.judge(info.name), mousedown: (event) => event.preventDefault() } },
    el("span", { class: "cap", "aria-hidden": "true", text: info.key?.toUpperCase() }), el("span", { text: info.name })));

  /**
   * @param {Row|undefined} row
   * @param {{meant: Row[], place: string, isOne: boolean}} view
   */
  function show(row, { meant, place, isOne }) {
    again = () => show(row, { meant, place, isOne });
    clearTimeout(timer);
    const isBlind = isOne && !row?.isOpen;
    drawActions(meant, isOne, isBlind);
    if (!row) return body.replaceChildren(guide());
    if (!isBlind && !logs.has(row.id) && isLogOpen) timer = setTimeout(() => loadLog(row), LOG_AFTER_MS);
    const scrolled = body.scrollTop;
    body.replaceChildren(
      ...(meant.length > 1 ? [several(meant)] : []),
      ...(isOne ? [] : [el("div", { class: "large" }, el("img", { src: row.url, alt: `Image ${row.id}, ${row.width} by ${row.height} pixels`, class: Math.max(row.width, row.height) <= 28 ? "pixels" : null }))]),
      el("h2", {}, `Image ${row.id}`, el("span", { class: "quiet", text: ` · ${place}` })),
      conflictBox(row) ?? "",
      el("div", { class: "chips", role: "group", "aria-label": "Classes" }, ...chips),
      ...(isBlind ? [blindNote()] : known(row)),
      guide(),
    );
    body.scrollTop = scrolled;
    return undefined;
  }

  function drawActions(meant, isOne, isBlind) {
    const isAside = meant.some((row) => row.state === "flagged" || row.state === "skipped");
    const off = { put_back: !isAside, exclude: !isAside, accept: isBlind || !meant.length, select: isOne, gold: isBlind || !meant.length, example: isBlind || !meant.length, ask: isAside || !meant.length, change: !meant.length };
    for (const [id, button] of actions) button.setAttribute("aria-disabled", String(Boolean(off[id])));
  }

  const several = (meant) => {
    /** @type {Map<string, number>} */ const found = new Map();
    for (const row of meant) found.set(beliefWords(row), (found.get(beliefWords(row)) ?? 0) + 1);
    const words = [...found].sort((a, b) => b[1] - a[1]).map(([name, number]) => `${count(number)} ${name}`).join(", ");
    return el("p", { class: "several" }, el("b", { text: `${plural(meant.length, "image")} selected` }), `: ${words}. What you press counts for all of them.`);
  };

  /** @param {Row} row */
  function conflictBox(row) {
    const { conflict } = row;
    if (!conflict) return null;
    const button = (text, caps, press) => el("button", { class: "button small-button", type: "button", on: { click: press } }, ...caps.map((cap) => el("span", { class: "cap", "aria-hidden": "true", text: cap })), text);
    return el("div", { class: "conflict", role: "alert" }, el("p", { text: conflict.words }), el("div", { class: "row" },
      conflict.mine !== null && conflict.version !== null && button(`Keep mine: ${conflict.mine}`, capsOf("mine"), () => work.keepMine(row)),
      button(conflict.version === null ? "Leave it" : `Leave it: ${beliefWords(row)}`, [], () => work.takeTheirs(row))));
  }

  const blindNote = () => el("div", { class: "blind" }, el("p", { text: "What people said is hidden, so that you decide by the image alone." }),
    el("button", { class: "button small-button", type: "button", on: { click: () => work.act("votes") } }, el("span", { class: "cap", "aria-hidden": "true", text: capsOf("votes")[0] }), "Show votes"));

  /** @param {Row} row */
  function known(row) {
    const fact = (name, value) => (value ? [el("dt", { text: name }), el("dd", { text: value })] : []);
    return [
      el("p", { class: "marks" }, ...marks(row).map((mark) => el("span", { class: `mark ${mark.kind}`, text: mark.text }))),
      el("dl", { class: "facts" },
        ...fact("Label", beliefWords(row)), ...fact("Votes", standWords(row)), ...fact("Model", row.opinion && `${row.opinion.class_name}, ${percent(row.opinion.chance, 0)} sure`), ...fact("Gold", row.goldClass), ...fact("Example", row.example && [`of ${row.example.className}`, row.example.note].filter(Boolean).join(": ")),
        ...fact("Asked", row.round === null ? "" : `round ${row.round}, place ${(row.rank ?? 0) + 1}`), ...fact("Why", row.reason), ...fact("File", row.file)),
      el("ul", { class: "votes", "aria-label": "Votes" }, ...row.votes.map(voteLine)),
      history(row),
    ];
  }

  const voteLine = (vote) => el("li", { class: vote.is_review ? "verdict" : "" }, el("b", { text: vote.by }), el("span", { text: vote.class_name ?? (vote.kind === "skip" ? "skipped" : "flagged") }), el("small", { class: "quiet", text: [timeWords(vote.at), voteNotes(vote)].filter(Boolean).join(" · ") }));

  /** @param {Row} row */
  function history(row) {
    const log = logs.get(row.id);
    const lines = typeof log === "string" ? [el("li", { class: "quiet", text: log })] : (log ?? []).map(logLine);
    return el("details", { class: "log", open: isLogOpen, on: { toggle: (event) => { isLogOpen = event.target.open; if (isLogOpen && !logs.has(row.id)) loadLog(row); } } },
      el("summary", { text: "Everything that was said" }), el("ol", {}, ...(log ? lines : [el("li", { class: "quiet", text: "Loading" })])));
  }

  function logLine(row) {
    const what = row.kind === "undo" ? "took it back" : row.class_name ?? (row.kind === "skip" ? "skipped" : "flagged");
    return el("li", { class: row.undone ? "undone" : "" }, el("b", { text: row.completed_by }), el("span", {}, row.undone ? el("s", { text: what }) : what), el("small", { class: "quiet", text: [timeWords(row.created_at), row.undone && "taken back", row.is_review && "verdict"].filter(Boolean).join(" · ") }));
  }

  /** @param {Row} row */
  async function loadLog(row) {
    if (loading.has(row.id)) return;
    loading.add(row.id);
    try {
      logs.set(row.id, (await api.call("GET", `/samples/${row.id}/log`)).log);
    } catch {
      logs.set(row.id, "This does not load right now.");
      setTimeout(() => logs.delete(row.id), LOG_AFTER_MS);
    } finally {
      loading.delete(row.id);
    }
    again?.();
  }

  const guide = () => (guidelines ? el("details", { class: "log" }, el("summary", { text: "Guidelines" }), el("p", { class: "guidelines", text: guidelines })) : el("span"));

  return {
    show,
    /** Something was said of that image: what is known of it is out of date. @param {number} id */
    forget: (id) => { logs.delete(id); },
    /** @param {string} text */
    setGuidelines(text) { guidelines = text.trim(); again?.(); },
    /** @param {string} id */
    light(id) {
      const button = actions.get(id);
      button?.classList.add("lit");
      setTimeout(() => button?.classList.remove("lit"), 160);
    },
  };
}

/** A key as assistive technology wants it. @param {string} key */
const shortcut = (key) => (key.startsWith("shift+") ? `Shift+${key.slice(6)}` : key);

