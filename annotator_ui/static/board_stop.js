// Whether more labels pay: what the next hundred are expected to add, how far predictions still change, and why the
// project has stopped asking.

import { byId, count, el, percent, setText } from "./dom.js";

const NOT_YET = "not known yet";

/** @param {any} summary @param {any[]} rounds oldest first */
export function drawStop(summary, rounds) {
  const found = rounds.findLast((round) => round.metrics.stopping)?.metrics.stopping;
  const [gain, agreement] = [found?.gain, found?.agreement];
  const row = (name, value, title) => el("div", { title }, el("dt", { text: name }), el("dd", { text: value }));
  byId("stop").replaceChildren(
    row(`next ${count(gain?.labels ?? 100)} labels`, gain ? gainWords(gain) : NOT_YET, "what a curve through the rounds so far expects them to add to the accuracy, with its 95 % interval"),
    row("same answers", agreement ? percent(agreement.share, 0) : NOT_YET, "of the evaluation images: how many this model calls the same as the one before"),
    row("kappa", agreement ? kappaWords(agreement) : NOT_YET, "agreement beyond chance: 1 = all the same, 0 = no more than by chance"),
  );
  byId("stop-panel").classList.toggle("stopped", Boolean(summary.stop));
  setText(byId("stop-words"), stopWords(summary.stop, found));
}

const points = (share) => (100 * share).toFixed(1);
const gainWords = ({ gain, low, high }) => `+${points(gain)} points (${points(low)} to ${points(high)})`;
const kappaWords = ({ kappa, since_round }) => (kappa === null ? "one class only" : `${kappa.toFixed(2)} since round ${since_round}`);

function stopWords(stop, found) {
  if (stop) return stop.text;
  if (!found) return "Rounds that are measured on evaluation images tell.";
  if (!found.gain) return "The expected gain is known after four measured rounds.";
  return "The project goes on asking: no rule says stop.";
}
