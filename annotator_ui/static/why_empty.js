// What the stage says when there is nothing to answer: why, and how far everything is. Comes when it is needed.

import { count, el } from "./dom.js";

const COUNT_WORDS = [["labelled", "labelled"], ["leased", "with people now"], ["free", "waiting for people"], ["not_queued", "not asked yet"], ["flagged", "flagged"], ["skipped", "skipped"]];
const TITLES = {
  importing: "Images are on their way", no_images: "No images yet", round_running: "The next images are being chosen", leased_to_others: "The rest is with others",
  answered_by_you: "You have answered everything here", round_failed: "The round stopped", budget_spent: "The label budget is used up", stable: "There are labels enough", little_gain: "There are labels enough", all_labelled: "Everything is labelled",
  waiting_for_engineer: "Waiting for the next round", round_starting: "The next round is about to start", round_cancelled: "Waiting for the next round",
};

/** @param {{code: string, text: string, counts: Record<string, number>, retry_after_s: number}} why */
export function emptyNote(why) {
  const counts = COUNT_WORDS.filter(([name]) => (why.counts?.[name] ?? 0) > 0);
  return [
    el("h2", { text: TITLES[why.code] ?? "No image right now" }),
    el("p", { text: why.text }),
    el("span", { class: "waiting", "aria-hidden": "true" }),
    counts.length ? el("dl", {}, ...counts.map(([name, words]) => el("div", {}, el("dt", { text: words }), el("dd", { text: count(why.counts[name]) })))) : null,
  ];
}
