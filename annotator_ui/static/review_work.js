// Deciding: verdicts, gold, what was set aside, one more opinion; taking verdicts back; and what to do when somebody was faster.

import { plural } from "./dom.js";
import { newKey, nextOrder } from "./outbox.js";
import { acceptable } from "./review_rows.js";
import { timeWords, verdictWords } from "./review_words.js";

const UNDO_MAX = 20;
const ASIDE = ["flagged", "skipped"];

/**
 * @typedef {import("./review_rows.js").Row} Row
 * @typedef {import("./review_sender.js").Decision} Decision
 * @typedef {{key: string, row: Row, before: Partial<Row>, op: "verdict"|"gold"}} Done
 */

/**
 * @param {any} desk api, scope, me, rows, sender, say, drawn(row): it looks different now
 */
export function createWork(desk) {
  /** What can be taken back, newest last. @type {Done[][]} */ let groups = [];
  /** @type {Map<string, Done>} */ const byKey = new Map();
  /** @type {Map<string, number>} */ const annotationIds = new Map();

  /** @param {Decision["op"]} op @param {Row} row @param {Partial<Decision>} [more] @returns {Decision} */
  const decision = (op, row, more) => ({ key: newKey(), scope: desk.scope, order: nextOrder(), op, sampleId: row.id, className: null, shown: more?.className ?? row.className, version: row.version, ...more });

  /** @param {Decision[]} decisions */
  function send(decisions) {
    if (decisions.length) desk.sender.add(decisions);
    for (const { sampleId } of decisions) {
      const row = desk.rows.find(sampleId);
      if (row) desk.drawn(counted(row));
    }
  }

  /** @param {Row} row with how many decisions about it the server does not have yet */
  const counted = (row) => Object.assign(row, { pending: desk.sender.waiting(row.id) });

  /** It looks as before this decision, unless the list has been read anew since: then it shows what the server says. @param {Done} done @returns {Row} */
  function restored({ row, before }) {
    const here = desk.rows.find(row.id) ?? row;
    return here === row ? Object.assign(row, before) : here;
  }

  const remember = ({ className, state, isReviewed, goldClass, isDecided }) => ({ className, state, isReviewed, goldClass, isDecided });

  /** One class for each of these, which the server will believe. @param {[Row, string][]} said @param {"verdict"|"gold"} op */
  function decide(said, op) {
    const group = said.map(([row, className]) => {
      // Whoever decides with the change of another person in view has seen it.
      if (row.conflict?.version != null) row.version = row.conflict.version;
      const made = decision(op, row, { className });
      const done = { key: made.key, row, before: remember(row), op };
      Object.assign(row, { className, state: "labelled", isReviewed: true, isDecided: true, conflict: null }, op === "gold" ? { goldClass: className } : {});
      byKey.set(made.key, done);
      return { made, done };
    });
    if (!group.length) return;
    groups = [...groups, group.map(({ done }) => done)].slice(-UNDO_MAX);
    send(group.map(({ made }) => made));
  }

  /** @param {string} className @param {Row[]} meant */
  function judge(className, meant) {
    if (!meant.length) return;
    desk.say(meant.length > 1 ? `${plural(meant.length, "image")}: ${className}` : verdictWords(meant[0], className));
    decide(meant.map((row) => [row, className]), "verdict");
  }

  /** @param {Row[]} meant */
  const sure = (meant) => /** @type {[Row, string][]} */ (meant.map((row) => [row, acceptable(row)]).filter(([, name]) => name !== null));

  /** @param {Row[]} meant */
  function accept(meant) {
    const said = sure(meant);
    if (!said.length) return desk.say(meant.length ? "Nobody said what this is. Choose a class." : "There is no image here.");
    if (said.length === 1) desk.say(`Accepted: ${said[0][1]}`);
    else desk.say(`${plural(said.length, "image")} accepted${said.length < meant.length ? `; of ${meant.length - said.length} nobody said what they are` : ""}`);
    return decide(said, "verdict");
  }

  /** @param {Row[]} meant */
  function gold(meant) {
    const golden = meant.filter((row) => row.goldClass);
    if (golden.length && golden.length === meant.length) {
      golden.forEach((row) => { row.goldClass = null; });
      send(golden.map((row) => decision("ungold", row)));
      return desk.say(`${plural(golden.length, "image")} no longer gold`);
    }
    const said = sure(meant.filter((row) => !row.goldClass));
    if (!said.length) return desk.say("Nobody said what this is. Choose a class first.");
    desk.say(`Gold: ${said.length === 1 ? said[0][1] : plural(said.length, "image")}`);
    return decide(said, "gold");
  }

  /** False when none of them was set aside. @param {"put_back"|"exclude"} op @param {Row[]} meant */
  function aside(op, meant) {
    const those = meant.filter((row) => ASIDE.includes(row.state) && !row.isDecided);
    if (!those.length) {
      desk.say("That is for images that were flagged or skipped.");
      return false;
    }
    those.forEach((row) => Object.assign(row, { state: op === "exclude" ? "skipped" : "unlabelled", isDecided: true }));
    send(those.map((row) => decision(op, row)));
    desk.say(op === "exclude" ? `${plural(those.length, "image")} will not be asked again` : `${plural(those.length, "image")} back in the queue`);
    return true;
  }

  /** @param {Row[]} meant */
  function ask(meant) {
    const those = meant.filter((row) => !ASIDE.includes(row.state) && !row.isAsked);
    if (!those.length) return desk.say("People are asked already, or it has to be put back first.");
    those.forEach((row) => { row.isAsked = true; });
    send(those.map((row) => decision("ask", row)));
    return desk.say(`One more person is asked about ${plural(those.length, "image")}`);
  }

  /** Take the last verdicts back. @returns {Row|null} the first of them */
  function undo() {
    const group = groups.pop();
    if (!group) { desk.say("There is nothing to take back."); return null; }
    /** @type {Decision[]} */ const told = [];
    const rows = group.map(restored);
    group.forEach((done, at) => {
      const row = rows[at];
      byKey.delete(done.key);
      if (desk.sender.cancel(done.key)) { counted(row); return; }
      if (done.op === "gold") told.push(decision("ungold", row));
      told.push(decision("undo", row, { targetKey: done.key, annotationId: annotationIds.get(done.key) ?? null }));
    });
    send(told);
    rows.forEach((row) => desk.drawn(row));
    desk.say(`Taken back: ${plural(group.length, "verdict")}`);
    return rows[0];
  }

  /** @param {Decision} made @param {any} answer @param {number|null} left the version that it made */
  function sent(made, answer, left) {
    const row = desk.rows.find(made.sampleId);
    if (answer.annotation) annotationIds.set(made.key, answer.annotation.id);
    if (!row) return;
    counted(row);
    if (answer.annotation) {
      const { id, class_name, created_at } = answer.annotation;
      row.votes = [...row.votes.filter((vote) => vote.annotation_id !== id), { annotation_id: id, by: desk.me, kind: "label", class_name, at: created_at, lead_time: null, is_extra_vote: false, is_review: true, is_import: false }];
    }
    if (made.op === "undo") {
      row.votes = row.votes.filter((vote) => vote.annotation_id !== made.annotationId);
      row.isReviewed = row.pending > 0 ? row.isReviewed : row.votes.some((vote) => vote.is_review);
    }
    if (made.op === "put_back") row.votes = row.votes.filter((vote) => vote.kind === "label");
    const now = answer.sample ?? answer.fresh;
    // While more waits, the image shows this person's choice, so only versions that they made count as seen.
    if (now && !row.pending) Object.assign(row, { version: now.label_version ?? 0, className: now.class_name, state: now.state });
    else if (left !== null) row.version = left;
    desk.panel.forget(row.id);
    desk.drawn(row);
  }

  /** @param {Decision} made @param {{code: string, message: string, details: any}} error */
  function refused(made, error) {
    const row = desk.rows.find(made.sampleId);
    const done = byKey.get(made.key);
    groups = groups.map((group) => group.filter((item) => item !== done)).filter((group) => group.length);
    byKey.delete(made.key);
    if (!row) return desk.say(`One decision about image ${made.sampleId} was not stored: ${error.message}`);
    if (done) restored(done);
    counted(row);
    if (error.code === "label_changed") changedByOther(row, made, error.details);
    else row.conflict = { mine: made.className, version: null, words: error.message };
    desk.panel.forget(row.id);
    return desk.drawn(row);
  }

  /** The choice of this person stays in view, beside what the other did. @param {Row} row @param {Decision} made @param {any} now */
  async function changedByOther(row, made, now) {
    const what = now.class_name === null ? "took the label away" : `made this ${now.class_name}`;
    const who = now.by === null ? "Its label was changed" : `${now.by} ${what}`;
    row.conflict = { mine: made.className, version: now.version, words: `${who}${now.at ? ` on ${timeWords(now.at)}` : ""}, after you had opened it. Your choice was ${made.className}; it is not stored.` };
    row.className = now.class_name;
    try {
      const { log } = await desk.api.call("GET", `/samples/${row.id}/log`);
      row.votes = log.filter((item) => item.kind !== "undo" && !item.undone).map((item) => ({ annotation_id: item.id, by: item.completed_by, kind: item.kind, class_name: item.class_name, at: item.created_at, lead_time: item.lead_time, is_extra_vote: item.is_extra_vote, is_review: item.is_review, is_import: item.is_import }));
      row.isReviewed = row.votes.some((vote) => vote.is_review);
      desk.drawn(row);
    } catch { /* the votes are those of before; the words above say what matters */ }
  }

  /** @param {Row} row */
  function keepMine(row) {
    const mine = row.conflict?.mine;
    if (!mine || row.conflict?.version == null) return desk.say("There is nothing to settle here.");
    return judge(mine, [row]);
  }

  /** @param {Row} row */
  function takeTheirs(row) {
    if (row.conflict?.version != null) row.version = row.conflict.version;
    row.conflict = null;
    desk.drawn(row);
  }

  return { judge, accept, gold, aside, ask, undo, keepMine, takeTheirs, events: { sent, refused } };
}
