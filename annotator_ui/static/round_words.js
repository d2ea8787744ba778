// Rounds and stages in words, the same on the projects page and on the board.

export const STAGE_NAMES = { train: "train", score: "score", select: "select", annotate: "answers", close: "done" };
const DOING = { train: "training", score: "looking through the pool", select: "choosing the next images", annotate: "waiting for answers", close: "summing up" };
const TRIGGERS = { manual: "by hand", first: "first round", labels: "enough new labels", time: "timer", queue_empty: "everything was answered", final: "last labels" };

/** @param {{number: number, state: string, stage: string}|null|undefined} round */
export function roundWords(round) {
  if (!round) return "No round yet";
  const name = `Round ${round.number}`;
  if (round.state === "running" || round.state === "annotating") return `${name} · ${DOING[round.stage] ?? round.stage}`;
  if (round.state === "failed") return `${name} failed while ${DOING[round.stage] ?? round.stage}`;
  if (round.state === "cancelled") return `${name} was cancelled`;
  return `${name} is done`;
}

/** @param {string} trigger */
export const triggerWords = (trigger) => TRIGGERS[trigger] ?? trigger.replaceAll("_", " ");
