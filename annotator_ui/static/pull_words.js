// How much suggestions sway people, in words: for the board and for the page of the people.

import { count, percent } from "./dom.js";

/** @typedef {{answered: number, agreed: number}} Share */
/** @typedef {{difference: number|null, interval: [number, number], told: Share, kept_blind: Share}} Pull */

/** @param {number} difference of two shares */
export const points = (difference) => `${difference > 0 ? "+" : difference < 0 ? "−" : ""}${Math.abs(difference * 100).toFixed(0)} points`;

/** @param {Pull} pull */
export function pullWords(pull) {
  if (pull.difference === null) return "It needs answers of people who asked what the model thinks: some with the suggestion shown, some kept blind.";
  const share = ({ answered, agreed }) => `${percent(agreed / answered, 0)} of ${count(answered)}`;
  const [low, high] = pull.interval;
  return `People agree with the model in ${share(pull.told)} answers with its suggestion on the screen, and in ${share(pull.kept_blind)} that were kept blind (difference ${points(low)} to ${points(high)}).`;
}
