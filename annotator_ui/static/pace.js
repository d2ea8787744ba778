// Time and speed of this session: active seconds per image, answers per minute, and a goal only this person sees.

const PAUSE_S = 30; // longer than this without an answer or a movement is a pause and does not count
const WINDOW = 40; // answers over which the speed is measured

/** @param {string} scope */
export function createPace(scope) {
  const goalName = `al-goal:${scope}`;
  /** @type {number|null} */ let shownId = null;
  let active = 0;
  let since = 0;
  let answers = 0;
  /** @type {number[]} */ let spans = [];

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
      answers += 1;
      spans = [...spans, Math.min(taken, PAUSE_S)].slice(-WINDOW);
      return taken;
    },
    /** An answer of this session was taken back. */
    takenBack() { answers = Math.max(0, answers - 1); },
    get answers() { return answers; },
    /** Answers per minute, or null before there is enough to tell. */
    get perMinute() {
      const total = spans.reduce((sum, span) => sum + span, 0);
      return spans.length < 5 || total <= 0 ? null : Math.min(999, (spans.length / total) * 60);
    },
    get goal() { try { return Number(localStorage.getItem(goalName)) || 0; } catch { return 0; } },
    set goal(value) { try { localStorage.setItem(goalName, String(value)); } catch { /* private mode: no goal then */ } },
  };
}

/** The line beside the action buttons: short, because it must not wrap and move them. @param {ReturnType<typeof createPace>} pace @param {number|null} left answers left in this round */
export function paceWords(pace, left) {
  const words = [pace.goal ? `${pace.answers} of ${pace.goal} this session` : `${pace.answers} this session`];
  if (pace.perMinute && left) {
    const minutes = left / pace.perMinute;
    words.push(`round done in ${minutes < 1 ? "under a minute" : minutes < 90 ? `${Math.round(minutes)} min` : `${Math.round(minutes / 60)} h`}`);
  }
  return words.join(" · ");
}
