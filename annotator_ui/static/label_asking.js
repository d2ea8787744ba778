// Asking the server: for the next images, for how far the round is, and for what this person answered before.

import { ApiError, UnreachableError, projectPath } from "./api.js";
import { showEnd } from "./label_stage.js";

const RETRY_S = 4;

/** @param {import("./label.js").Desk} desk @param {ReturnType<import("./label_stage.js").createStage>} stage */
export function createAsking(desk, stage) {
  let retryTimer = 0;
  let lastAsked = 0;

  /** Lease until enough is in hand; renews what is held, so it is the heartbeat too. */
  function ask() {
    if (desk.isOver) return;
    lastAsked = performance.now();
    clearTimeout(retryTimer);
    desk.hand.fill();
  }

  const askIn = (seconds) => { clearTimeout(retryTimer); retryTimer = setTimeout(() => !document.hidden && ask(), seconds * 1000); };

  /** The server answers; what could not be fetched or sent while it was away goes on at once. */
  function reached() {
    const wasAway = desk.askProblem !== null;
    desk.askProblem = null;
    if (!wasAway) return;
    desk.hand.retryImages();
    desk.sender.resume();
  }

  function changed() {
    reached();
    if (desk.hand.current && desk.why) { desk.why = null; refreshSummary(); }
    stage.show();
    stage.drawCounts();
  }

  async function empty(reason) {
    // Without its part the note says less.
    if (reason) desk.whyNote ??= (await desk.parts.load("empty"))?.emptyNote;
    if (desk.hand.current) return;
    desk.why = reason;
    stage.show();
    stage.drawCounts();
    askIn(reason ? Math.min(60, Math.max(0.5, reason.retry_after_s)) : 0.5);
  }

  /** @param {unknown} error */
  function failed(error) {
    if (error instanceof ApiError && error.status === 401) {
      desk.askProblem = "signed_out";
    } else if (error instanceof ApiError && (error.status === 403 || error.status === 404)) {
      desk.isOver = true;
      showEnd(desk, error.message);
      return;
    } else if (error instanceof UnreachableError || error instanceof ApiError) {
      desk.askProblem = navigator.onLine ? "server" : "offline";
      askIn(RETRY_S);
    } else {
      throw error;
    }
    stage.drawCounts();
  }

  async function refreshSummary() {
    try {
      const summary = await desk.api.call("GET", `${projectPath(desk.project)}/summary`);
      desk.progress = summary.progress;
      desk.view.countAnew();
      desk.guide.fill(summary.guidelines ?? "", summary.examples ?? 0);
      stage.drawCounts();
      stage.drawPace();
    } catch { /* the counts come with the next answer */ }
  }

  async function loadTrail() {
    try {
      const { annotations } = await desk.api.call("GET", `${projectPath(desk.project)}/annotations/mine?limit=20`);
      desk.trail.addOlder(annotations.filter((row) => row.kind !== "undo" && !desk.sender.holds(row.sample_id)).map((row) => ({
        key: null, annotationId: row.id, kind: row.kind, className: row.class_name, state: "saved",
        item: { id: null, sampleId: row.sample_id, url: row.image_url, width: 0, height: 0, why: "", image: null, state: "loading", tries: 0 },
      })));
    } catch { /* looking back starts with this session then */ }
  }

  return { ask, reached, refreshSummary, loadTrail, events: { changed, empty, failed }, get silentMs() { return performance.now() - lastAsked; } };
}
