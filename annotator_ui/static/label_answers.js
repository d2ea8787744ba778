// Answering and taking back: what one key press does to the hand, the trail and the outbox.

import { newKey, nextOrder } from "./outbox.js";
import { saidWords } from "./trail.js";

/**
 * @param {import("./label.js").Desk} desk
 * @param {ReturnType<import("./label_stage.js").createStage>} stage
 * @param {ReturnType<import("./label_asking.js").createAsking>} asking
 */
export function createAnswers(desk, stage, asking) {
  const { view, trail, pace, scope } = desk;

  /** @param {string} name */
  function choose(name) {
    if (!desk.parts.made("grid")?.choose(name)) answer("label", name, () => desk.classButtons.light(name));
  }

  /** @param {"label"|"skip"|"flag"} kind @param {string|null} className @param {() => void} light */
  function answer(kind, className, light) {
    if (trail.looked) return view.toast("You are looking back. Esc returns to the image in hand.");
    const item = desk.hand.current;
    const canAnswer = item && (view.state === "image" || (view.state === "broken" && kind !== "label"));
    if (!canAnswer) return undefined;
    // Never answer an image that was not yet on the screen: a second key within the same frame waits for the next one.
    return view.afterPaint(() => {
      if (desk.hand.current !== item) return;
      light();
      giveAll([item], kind, className);
    });
  }

  /** One answer for each of these images, by one press of a key. @param {import("./hand.js").Item[]} items @param {"label"|"skip"|"flag"} kind @param {string|null} className */
  function giveAll(items, kind, className) {
    const stroke = items.length > 1 ? newKey() : null;
    const leadTime = items.reduce((sum) => sum + pace.answered(), 0) / items.length;
    for (const item of items) desk.hand.take(item, kind === "label");
    stage.show();
    if (className) {
      desk.recent.used(className);
      desk.classButtons.used(className, desk.recent.names);
    }
    for (const item of items) {
      const key = newKey();
      trail.add({ key, annotationId: null, item, kind, className, state: "unsaved", stroke });
      desk.sender.add({ key, scope, order: nextOrder(), op: "answer", sampleId: item.sampleId, assignmentId: item.id, kind, className, leadTime, imageUrl: item.url, refused: null });
    }
    if (desk.hand.isLow) asking.ask();
    stage.drawPace();
    if (pace.hasReachedGoal(items.length)) view.toast(`${pace.goal} answers: your goal for this session is reached.`);
    desk.parts.fetchSoon();
    desk.betweenImages?.();
  }

  /** @param {import("./trail.js").Past} past */
  function takeBack(past) {
    const { sender } = desk;
    trail.remove(past);
    trail.look(0);
    const item = { ...past.item };
    if (past.state === "refused" && past.key) sender.dismiss(past.key);
    else if (!past.key || !sender.cancel(past.key)) {
      item.id = null;
      sender.add({ key: newKey(), scope, order: nextOrder(), op: "undo", sampleId: item.sampleId, assignmentId: null, targetKey: past.key, annotationId: past.annotationId });
    }
    pace.takenBack();
    desk.hand.putBack(item);
    return item;
  }

  /** Take back what the last key press answered, be it one image or many; looking back, the one in view. */
  function undo() {
    const isNewest = !trail.looked;
    const past = trail.at(Math.max(1, trail.looked));
    if (!past) return view.toast("There is nothing to take back.");
    const items = [takeBack(past)];
    while (isNewest && past.stroke && trail.at(1)?.stroke === past.stroke) items.unshift(takeBack(trail.at(1)));
    desk.parts.made("grid")?.backAgain(items);
    view.countAnew();
    view.toast(`Taken back: ${items.length > 1 ? `${items.length} × ` : ""}${saidWords(past)}`);
    return stage.show();
  }

  /** @param {import("./outbox.js").Entry} entry @param {any} reply */
  function sent(entry, reply) {
    if (entry.op === "answer") {
      trail.update(entry.key, { state: "saved", annotationId: reply.annotation.id });
      desk.parts.made("classes")?.sent(entry);
      desk.progress = reply.progress ?? desk.progress;
    } else {
      if (!desk.hand.setLease(entry.sampleId, reply.assignment) && !desk.sender.holds(entry.sampleId)) view.toast("Taken back. That image is asked again later.");
      asking.refreshSummary();
    }
    asking.reached();
    if (desk.hand.isLow) asking.ask();
  }

  /** @param {import("./outbox.js").Entry} entry */
  function refused(entry) {
    if (entry.op === "answer") trail.update(entry.key, { state: "refused" });
    else desk.hand.setLease(entry.sampleId, null);
    if (entry.code === "class_was_split") return desk.useClasses((part) => part.askAnew(entry));
    return view.toast(entry.op === "answer" ? "One answer was set aside; see the top of the page." : `That could not be taken back: ${entry.refused}`);
  }

  return { choose, answer, giveAll, undo, events: { sent, refused } };
}
