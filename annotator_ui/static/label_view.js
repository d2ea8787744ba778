// Everything the label page shows around the image: counts, banner, notes on the stage, help, set-aside answers.

import { byId, count, plural, setText } from "./dom.js";
import { saidWords } from "./trail.js";

const LOADING_AFTER_MS = 300;
const TOAST_MS = 2600;

/** @param {ReturnType<import("./viewer.js").createViewer>} viewer */
export function createLabelView(viewer) {
  const stage = byId("stage");
  const note = byId("stage-note");
  const why = byId("why");
  let noteTimer = 0;
  let toastTimer = 0;
  let isPainted = false;
  let whenPainted = null;

  function setStage(state, sampleId = "") {
    clearTimeout(noteTimer);
    stage.dataset.state = state;
    stage.dataset.sample = String(sampleId);
    stage.classList.toggle("looking-back", state === "past");
    note.hidden = true;
    isPainted = false;
    whenPainted = null;
    requestAnimationFrame(() => {
      isPainted = true;
      whenPainted?.();
      whenPainted = null;
    });
  }

  /** The highest count that was shown of a round. @type {{round?: number, answered: number}} */ let counted = { answered: 0 };

  function setWhy(text, isBack = false) {
    setText(why, text || "\u00a0");
    why.title = text;
    why.classList.toggle("back", isBack);
  }

  return {
    /** @param {import("./hand.js").Item} item */
    showItem(item) {
      if (stage.dataset.state === "image" && stage.dataset.sample === String(item.sampleId)) return;
      viewer.show(item.image, item.width, item.height);
      setStage("image", item.sampleId);
      setWhy(item.why);
    },
    /** Many images at once, which the grid shows. @param {string} samples @param {string} hint */
    showGrid(samples, hint) {
      if (stage.dataset.state === "grid" && stage.dataset.sample === samples) return;
      viewer.show(null);
      setStage("grid", samples);
      setWhy(hint);
    },
    /** @param {import("./trail.js").Past} past @param {number} back @param {HTMLImageElement} image */
    showPast(past, back, image) {
      viewer.show(image, past.item.width, past.item.height);
      setStage("past", past.item.sampleId);
      setWhy(`${back} back: ${saidWords(past)} · U takes it back · → or Esc returns`, true);
    },
    /** @param {"empty"|"broken"|"loading"} state @param {Array<Node|null>} nodes @param {{sampleId?: number, isSlow?: boolean}} [more] */
    showNote(state, nodes, { sampleId, isSlow = false } = {}) {
      const isSame = stage.dataset.state === state && stage.dataset.sample === String(sampleId ?? "");
      if (isSame && state === "loading") return;
      if (!isSame) { viewer.show(null); setWhy(""); }
      const wasShown = isSame && !note.hidden;
      setStage(state, sampleId);
      note.replaceChildren(...nodes.filter((node) => node !== null));
      if (isSlow && !wasShown) noteTimer = setTimeout(() => { note.hidden = false; }, LOADING_AFTER_MS);
      else note.hidden = false;
    },
    /** Run when what is shown now has been painted; only the last wish counts. @param {() => void} work */
    afterPaint(work) {
      if (isPainted) work();
      else whenPainted = work;
    },
    get state() { return stage.dataset.state; },

    /**
     * The count of the round. It does not go back by itself: an answer that the round did not ask for would show as one.
     * @param {{round: number, answered: number, asked: number, answered_ahead?: number}|null} progress @param {number} unsavedLabels
     */
    progress(progress, unsavedLabels) {
      const asked = progress?.asked ?? 0;
      if (progress?.round !== counted.round) counted = { round: progress?.round, answered: 0 };
      const answered = Math.min(asked || Infinity, Math.max(counted.answered, (progress?.answered ?? 0) + unsavedLabels));
      counted.answered = answered;
      setText(byId("answered"), asked ? count(answered) : "–");
      // Labels beyond the batch: the next round is at work, and its images are not there yet.
      const ahead = progress?.answered_ahead ? ` + ${count(progress.answered_ahead)}` : "";
      setText(byId("asked"), asked ? `${count(asked)}${ahead}` : "–");
      const part = asked ? answered / asked : 0;
      const meter = byId("round-meter");
      meter.style.setProperty("--part", String(part));
      meter.setAttribute("aria-valuenow", String(Math.round(part * 100)));
      meter.setAttribute("aria-valuetext", `${answered} of ${asked}${ahead && `${ahead} ahead`}`);
    },
    /** Something was taken back, so the count may go back as well. */
    countAnew: () => { counted.answered = 0; },
    /** @param {number} unsaved */
    unsaved(unsaved) {
      byId("saved").dataset.unsaved = String(unsaved);
      setText(byId("unsaved"), String(unsaved));
    },
    /** @param {string} text */
    banner(text) {
      const banner = byId("banner");
      banner.hidden = !text;
      setText(banner, text);
    },
    /** @param {string} text */
    toast(text) {
      const toast = byId("toast");
      setText(toast, text);
      toast.classList.add("on");
      clearTimeout(toastTimer);
      toastTimer = setTimeout(() => toast.classList.remove("on"), TOAST_MS);
    },
    /** @param {string} words @param {string} left @param {string} rate @param {number|null} goalPart */
    pace(words, left, rate, goalPart) {
      setText(byId("pace-text"), words);
      setText(byId("pace-left"), left);
      setText(byId("rate"), rate);
      byId("goal-meter").hidden = goalPart === null;
      byId("goal-meter").style.setProperty("--part", String(Math.min(1, goalPart ?? 0)));
    },
  };
}

/** What is in the way of sending, in words. @param {string|null} problem @param {number} unsaved */
export function problemWords(problem, unsaved) {
  const kept = unsaved ? `Your ${plural(unsaved, "answer")} ${unsaved === 1 ? "is" : "are"} kept here and will be sent.` : "Answers you give are kept here and will be sent.";
  if (problem === "offline") return `Offline. ${kept}`;
  if (problem === "server") return `The server does not answer. ${kept}`;
  if (problem === "storage") return "This browser cannot keep answers for later. Leave the tab open until unsaved is 0.";
  return "";
}
