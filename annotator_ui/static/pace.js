// Time and speed of this session: active seconds per image, answers per minute, and a goal only this person sees. A session
// is of this browser: it goes on over reloads and coming back, and ends when nothing was answered for some hours.

import { count } from "./dom.js";

/** Longer than this without an answer or a movement is a pause and does not count. */ const PAUSE_S = 30;
/** Answers over which the speed is measured. */ const WINDOW = 40;
/** So long without an answer and the next one begins a new session. */ const SESSION_GAP_MS = 6 * 60 * 60 * 1000;

/** @param {string} scope */
export function createPace(scope) {
  const goalName = `al-goal:${scope}`;
  const sessionName = `al-session:${scope}`;
  /** @type {number|null} */ let shownId = null;
  let active = 0;
  let since = 0;
  /** When the last answer was given, and how many there were. */ let session = { answers: 0, at: 0 };
  /** The goal that was said to be reached. */ let told = 0;
  /** @type {number[]} */ let spans = [];

  /** As it is now: another tab may have counted on. In private mode it lasts as long as the page. */
  function current() {
    try { session = { ...session, ...JSON.parse(localStorage.getItem(sessionName) ?? "{}") }; } catch { /* private mode */ }
    if (Date.now() - session.at > SESSION_GAP_MS) session = { answers: 0, at: 0 };
    return session.answers;
  }
  /** @param {number} answers */
  function keep(answers) {
    session = { answers, at: Date.now() };
    try { localStorage.setItem(sessionName, JSON.stringify(session)); } catch { /* private mode */ }
  }

  const now = () => performance.now() / 1000;
  const isRunning = () => since > 0;
  const pause = () => { if (isRunning()) { active += now() - since; since = 0; } };
  const go = () => { if (!isRunning() && shownId !== null) since = now(); };
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : go()));

  return {
    /** An image is in view; looking back and returning goes on counting. @param {number} sampleId */
    shown(sampleId) {
      if (sampleId === shownId) return;
      shownId = sampleId;
      active = 0;
      since = document.hidden ? 0 : now();
    },
    /** Nothing to answer. */
    stopped() { shownId = null; active = 0; since = 0; },
    /** The image was answered; its active seconds. @returns {number} */
    answered() {
      pause();
      shownId = null;
      const taken = Math.round(active * 1000) / 1000;
      keep(current() + 1);
      spans = [...spans, Math.min(taken, PAUSE_S)].slice(-WINDOW);
      return taken;
    },
    /** An answer was taken back. One of an earlier session counts as well once it is given anew. */
    takenBack() { keep(Math.max(0, current() - 1)); },
    get answers() { return current(); },
    /** True once, after the answer (or the stroke of many) that reached the goal. @param {number} given answers of that stroke */
    hasReachedGoal(given) {
      const { goal } = this;
      const isNow = goal !== told && current() >= goal && current() - given < goal;
      if (isNow) told = goal;
      return isNow;
    },
    /** Answers per minute, or null before there is enough to tell. */
    get perMinute() {
      const total = spans.reduce((sum, span) => sum + span, 0);
      return spans.length < 5 || total <= 0 ? null : Math.min(999, (spans.length / total) * 60);
    },
    get goal() { try { return Number(localStorage.getItem(goalName)) || 0; } catch { return 0; } },
    set goal(value) { try { localStorage.setItem(goalName, String(value)); } catch { /* private mode: no goal then */ } },
  };
}

/** What was answered in this session. @param {ReturnType<typeof createPace>} pace */
export const paceWords = (pace) => `${count(pace.answers)}${pace.goal ? ` of ${count(pace.goal)}` : ""} this session`;

/** How long the round still takes, once there is enough to tell. @param {number|null} perMinute @param {number|null} left answers left in this round */
export function leftWords(perMinute, left) {
  if (!perMinute || !left) return "";
  const minutes = left / perMinute;
  return `round done in ${minutes < 90 ? `${Math.max(1, Math.round(minutes))} min` : `${Math.round(minutes / 60)} h`}`;
}
