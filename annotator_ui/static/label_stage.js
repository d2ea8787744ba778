// What the label page shows: the image in hand, an earlier answer, or a note in its place; counts, banner, pace.

import { byId, setText } from "./dom.js";
import { problemWords } from "./label_view.js";
import { plainNote } from "./plain_note.js";
import { leftWords, paceWords } from "./pace.js";

/** Reasons for an empty hand while there is a round all the same. */
const ASKING = ["leased_to_others", "kept_for_others", "answered_by_you", "round_running", "round_starting", "importing"];

/** @param {import("./label.js").Desk} desk */
export function createStage(desk) {
  const { view, trail, pace } = desk;

  function show() {
    if (desk.parts.made("grid")?.draw()) return undefined;
    const past = trail.looked ? trail.at(trail.looked) : undefined;
    desk.classButtons.setOff(Boolean(past) || view.state === "empty");
    if (past) return showPast(past);
    const item = desk.hand.current;
    if (!item) return showNothing();
    if (item.state === "ready") {
      pace.shown(item.sampleId);
      return view.showItem(item);
    }
    if (item.state === "broken") {
      return view.showNote("broken", plainNote("This image does not load", "Skip or flag it, or try again.", { label: "Try again", press: desk.hand.retryImages }), { sampleId: item.sampleId });
    }
    return view.showNote("loading", plainNote("Loading", "The image is on its way."), { sampleId: item.sampleId, isSlow: true });
  }

  function showNothing() {
    pace.stopped();
    const problem = desk.sender.problem ?? desk.askProblem;
    if (problem === "offline" || problem === "server") return view.showNote("empty", plainNote(problem === "offline" ? "You are offline" : "The server does not answer", "Nothing is lost. The next images come by themselves when the connection is back."));
    if (desk.why && !desk.sender.unsaved) return view.showNote("empty", desk.whyNote?.(desk.why) ?? plainNote("No image right now", desk.why.text));
    return view.showNote("loading", plainNote("Loading", "The next images are on their way."), { isSlow: true });
  }

  /** @param {import("./trail.js").Past} past */
  function showPast(past) {
    const image = past.item.image ?? new Image();
    if (!past.item.image) Object.assign(image, { src: past.item.url, alt: `Image ${past.item.sampleId}`, onload: () => trail.at(trail.looked) === past && view.showPast(past, trail.looked, image) });
    past.item.image = image;
    return view.showPast(past, trail.looked, image);
  }

  /** @param {number} at 0: the image in hand, 1: the newest answer … */
  function lookAt(at) {
    if (at > trail.length) return view.toast(trail.length ? "That is the oldest answer here." : "There are no answers to look back at.");
    trail.look(Math.max(0, at));
    return show();
  }

  function drawCounts() {
    const { sender, hand } = desk;
    view.unsaved(sender.unsaved);
    view.progress(desk.progress, sender.unsavedLabels);
    // A round that is over has a count that nobody can change any more.
    byId("round-progress").hidden = !hand.current && !sender.unsaved && desk.why && !ASKING.includes(desk.why.code);
    const problem = sender.problem ?? desk.askProblem;
    view.banner(hand.current || trail.looked || sender.unsaved ? problemWords(problem, sender.unsavedAnswers) : "");
    if (problem === "signed_out") desk.askToSignIn(sender.unsavedAnswers);
    drawAside();
    if (!hand.current && !trail.looked) showNothing();
  }

  function drawAside() {
    const { aside } = desk.sender;
    byId("aside-button").hidden = !aside.length;
    setText(byId("aside-button"), `${aside.length} set aside`);
    desk.parts.made("aside")?.draw();
  }

  /** Answers that the round still wants, as far as this page knows. */
  function left() {
    const { progress } = desk;
    return progress ? Math.max(0, progress.asked - progress.answered - desk.sender.unsavedLabels) : null;
  }

  function drawPace() {
    const rate = pace.perMinute;
    view.pace(paceWords(pace), leftWords(rate, left()), rate ? `${Math.round(rate)}/min` : "–/min", pace.goal ? pace.answers / pace.goal : null);
  }

  return { show, lookAt, left, drawCounts, drawPace };
}

/** No more images for this page, and why. @param {import("./label.js").Desk} desk @param {string} text */
export function showEnd(desk, text) {
  desk.view.showNote("empty", plainNote("No images for you here", text, { label: "All projects", press: () => location.assign("/") }));
}

/** Another tab of the same person has this project. @param {() => void} takeOver @param {(dialog: HTMLDialogElement) => void} open */
export function showOtherTab(takeOver, open) {
  const dialog = byId("tab-dialog");
  dialog.dataset.stay = "1";
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  byId("tab-take").addEventListener("click", takeOver, { once: true });
  open(dialog);
}
