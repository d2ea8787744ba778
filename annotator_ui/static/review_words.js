// What the review page says of an image, in words.

import { count, plural } from "./dom.js";
import { isDisputed, tally, votesOf } from "./review_rows.js";

/** @typedef {import("./review_rows.js").Row} Row */

export const KINDS = [
  { kind: "disputed", label: "Disputed", title: "people differ, and no reviewer has decided" },
  { kind: "suspicious", label: "Suspicious", title: "the model was sure of another class than people named" },
  { kind: "answered", label: "All answers", title: "everything that anybody said anything of, newest first" },
  { kind: "labelled", label: "Labelled", title: "what is believed to be of a class" },
  { kind: "reviewed", label: "Reviewed", title: "what a reviewer has decided" },
  { kind: "flagged", label: "Flagged", title: "set aside: somebody cannot tell, or the file cannot be read" },
  { kind: "skipped", label: "Skipped", title: "out of the queue without a label" },
  { kind: "gold", label: "Gold", title: "known for sure, to see how well people do" },
];

const EMPTY = {
  disputed: ["Nobody disagrees", "Images about which people differ come here. Several people see an image where the project's overlap is 2 or more, or where you ask one more person (O)."],
  suspicious: ["Nothing looks wrong", "Images come here where the model that chose them was at least 80 % sure of another class than the one people named."],
  answered: ["No answers yet", "As soon as somebody labels an image, it is here."],
  labelled: ["No labels yet", "As soon as somebody labels an image, it is here."],
  reviewed: ["No verdicts yet", "What you accept or change is here, so that you find it again."],
  flagged: ["Nothing is set aside", "Images that somebody flags, or that cannot be read, come here."],
  skipped: ["Nothing was skipped for good", "Images that left the queue without a label come here."],
  gold: ["No gold yet", "Mark images of which you are sure (G). They are mixed into what people are asked, to see how well they do."],
};

/** @param {string} kind @param {boolean} isNarrowed @returns {string[]} */
export const emptyWords = (kind, isNarrowed) => (isNarrowed ? ["Nothing fits these filters", "Take one of them away to see more."] : EMPTY[kind]);

/** How many, as far as it was counted. @param {number|undefined} number @param {number} most */
export const countWords = (number, most) => (number === undefined ? "" : number > most ? `${count(most)}+` : count(number));

/** "2 : 1", or "" where people agree. @param {Row} row */
export const ratio = (row) => (isDisputed(row) ? tally(row).map(([, people]) => people).join(" : ") : "");

/** What is believed, in one word. @param {Row} row */
export const beliefWords = (row) => row.className ?? { flagged: "flagged", skipped: "skipped" }[row.state] ?? "no label yet";

/** The marks on an image: never colour alone. @param {Row} row @param {boolean} isBlind @returns {{kind: string, text: string}[]} */
export function marks(row, isBlind = false) {
  return [
    row.conflict && { kind: "bad", text: "changed meanwhile" },
    row.pending > 0 && { kind: "warn", text: "unsaved" },
    !isBlind && isDisputed(row) && { kind: "plain", text: `differ ${ratio(row)}` },
    row.state === "flagged" && { kind: "plain", text: "flagged" },
    row.state === "skipped" && { kind: "plain", text: "skipped" },
    row.isReviewed && !isBlind && { kind: "plain", text: "✓ reviewed" },
    row.goldClass && !isBlind && { kind: "plain", text: "★ gold" },
    row.example && !isBlind && { kind: "plain", text: "example" },
    row.isAsked && { kind: "plain", text: "being asked" },
  ].filter((mark) => mark !== false && mark !== null && mark !== "");
}

/** For a screen reader. @param {Row} row */
export function rowName(row) {
  return [`Image ${row.id}`, beliefWords(row), ...marks(row).map((mark) => mark.text.replace(" : ", " to "))].join(", ");
}

/** How the votes stand. @param {Row} row */
export function standWords(row) {
  const said = tally(row);
  if (!said.length) return "";
  if (said.length === 1) return `${plural(said[0][1], "person", "people")}, no disagreement`;
  return said.map(([name, people]) => `${name} ${people}`).join(", ");
}

const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
/** @param {string} at */
export const timeWords = (at) => clock.format(new Date(at));

/** What is special about an answer. @param {{is_review: boolean, is_import: boolean, is_extra_vote: boolean, lead_time: number|null}} vote */
export function voteNotes(vote) {
  return [
    vote.is_review && "verdict", vote.is_import && "came with the images", vote.is_extra_vote && "late",
    vote.lead_time !== null && `${vote.lead_time.toFixed(1)} s`,
  ].filter(Boolean).join(" · ");
}

/** How a verdict compares with what people had said. @param {Row} row @param {string} name */
export function verdictWords(row, name) {
  const votes = votesOf(row);
  const agreeing = votes.filter((vote) => vote.class_name === name).length;
  if (!votes.length) return `${name}: nobody had said anything else`;
  return `${name}, as ${agreeing} of ${plural(votes.length, "person", "people")} said`;
}
