// The lower half of the form while something is sent and imported: words, bar, buttons, refused rows.

import { projectPath } from "./api.js";
import { byId, count, el, plural, seconds, setText } from "./dom.js";
import { sizeWords } from "./found_view.js";
import { resultWords, runningWords } from "./import_watch.js";

/** Which buttons each state has. @type {Record<string, string[]>} */
const BUTTONS = {
  empty: ["start"], looking: ["start"], found: ["start"], creating: [], failed: ["start"],
  starting: ["cancel", "pause"], sending: ["cancel", "pause"], waiting: ["cancel", "pause"], paused: ["cancel", "go-on"], stopped: ["cancel", "go-on"], sent: [],
  importing: [], done: ["more", "open-board", "open-label"], lost: ["more", "open-board"],
};
const CHOOSING = ["empty", "looking", "found", "failed"];
const ALL = ["start", "cancel", "pause", "go-on", "more", "open-board", "open-label"];

/** @param {HTMLFormElement} form */
export function createImportView(form) {
  const bar = byId("work-bar");

  /** @param {string} name */
  function state(name) {
    if (form.dataset.state === name) return;
    const hadFocus = form.contains(document.activeElement);
    form.dataset.state = name;
    byId("steps").hidden = !CHOOSING.includes(name);
    byId("work").hidden = CHOOSING.includes(name) || name === "creating";
    for (const id of ALL) byId(id).hidden = !BUTTONS[name].includes(id);
    if (name !== "done") byId("refused").hidden = true;
    // What had the focus may be gone, or there is something to do now: who goes by keyboard is led there.
    const focused = document.activeElement;
    if (hadFocus && (focused?.id === "work-title" || !(form.contains(focused) && focused?.checkVisibility()))) focusAfter(name);
  }

  function focusAfter(name) {
    const main = { paused: "go-on", stopped: "go-on", done: "open-label", found: "start", empty: "choose-folder" }[name];
    byId(main ?? "work-title").focus();
  }

  /** @param {string} title @param {string} words @param {number|null} part @param {string} more */
  function show(title, words, part, more) {
    setText(byId("work-title"), title);
    setText(byId("work-words"), words);
    setText(byId("work-more"), more || "\u00a0");
    bar.hidden = false;
    if (part === null) bar.removeAttribute("value");
    else bar.value = part;
  }

  return {
    state,
    isAtWork: () => !CHOOSING.includes(form.dataset.state ?? ""),
    /** @param {string} words */
    problem: (words) => setText(byId("problem"), words),
    /** @param {string} words */
    failed(words) { state("failed"); setText(byId("problem"), words[0].toUpperCase() + words.slice(1)); },

    /** @param {string} name @param {import("./upload_sender.js").Sending} sending */
    sending(name, { phase, done, total, perSecond, hadBefore, words }) {
      state(phase);
      const amount = `${sizeWords(done)} of ${sizeWords(total)} sent`;
      const left = perSecond > 0 ? `, ${sizeWords(perSecond)} a second, about ${seconds((total - done) / perSecond)} left` : "";
      const said = { starting: "Asking what is there already", sending: amount, sent: "All sent", paused: `Paused. ${amount}; the server keeps it for a day.`, waiting: `${amount}. The server does not answer; this goes on by itself when it does.`, stopped: words }[phase];
      const had = hadBefore ? `Goes on where it stopped: ${sizeWords(hadBefore)} were there already` : "";
      show(`Sending ${name}`, said, total ? done / total : 0, phase === "sending" ? `${had}${left && !had ? left.slice(2) : left}` : phase === "waiting" || phase === "paused" || phase === "stopped" ? "You may close this page: choose the same again later, and it goes on from here." : had);
    },

    /** @param {any|null} job null: no answer right now @param {boolean} isFirst */
    importing(job, isFirst) {
      state("importing");
      if (isFirst) return show("Importing", "Asking for a worker", null, "");
      if (!job) return show("Importing", "The server does not answer. The import goes on there; this page asks again by itself.", null, "");
      const { done, total } = job.progress;
      return show("Importing", runningWords(job), total ? done / total : null, job.state === "running" ? "You may close this page; the import goes on." : "");
    },

    /** @param {any} job @param {string} project */
    over(job, project) {
      byId("open-board").href = `${projectPath(project)}/board`;
      byId("open-label").href = `${projectPath(project)}/label`;
      state(job.state === "done" ? "done" : "lost");
      bar.hidden = true;
      setText(byId("work-more"), "\u00a0");
      setText(byId("work-title"), { done: "Imported", failed: "The import failed", cancelled: "The import was cancelled" }[job.state]);
      setText(byId("work-words"), job.state === "done" ? resultWords(job.result) : job.error ?? "");
      showRefused(job);
    },
  };
}

function showRefused(job) {
  const rows = job.rejected ?? [];
  const all = job.result?.rejected ?? rows.length;
  byId("refused").hidden = rows.length === 0;
  setText(byId("refused-title"), `${plural(all, "file")} refused${all > rows.length ? `, the first ${count(rows.length)}:` : ""}`);
  byId("refused-rows").tBodies[0].replaceChildren(...rows.map((row) => el("tr", {}, el("td", { text: row.external_id }), el("td", { text: row.reason }))));
}
