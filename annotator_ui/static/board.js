// The round board: what the loop does now, how good the model is, who works, what failed.

import { createApi, projectPath } from "./api.js";
import { createCurve, curvePoints, curveWords } from "./board_curve.js";
import { drawFailures, drawHeadline, drawPeople, drawPool } from "./board_panels.js";
import { drawClasses, drawConfusion, drawRounds, roundsCsv } from "./board_tables.js";
import { byId, seconds, setText } from "./dom.js";
import { wireMenus } from "./menus.js";
import { newKey } from "./outbox.js";
import { createPoll } from "./poll.js";

const EVERY_MS = 2000;

/** @param {HTMLElement} body */
function start(body) {
  const project = body.dataset.project ?? "";
  const path = projectPath(project);
  const mayEngineer = ["admin", "engineer"].includes(body.dataset.role ?? "");
  const api = createApi();
  const curve = createCurve(byId("curve"), body.dataset.plotly ?? "");
  const startButton = document.getElementById("start-round");
  let showsAllRounds = false;
  /** @type {{summary?: any, rounds?: any}} */ let latest = {};
  let drawnCurve = "";
  /** Classes and confusion of the last measured round: too large for the list. @type {{key: string, metrics: any}|null} */
  let detail = null;
  let isFetchingDetail = false;

  const poll = createPoll(api, {
    everyMs: EVERY_MS, paths: { summary: `${path}/summary`, rounds: `${path}/rounds` },
    changed: (data) => { latest = data; draw(); },
    age: (old, why) => {
      byId("stale").hidden = old === null;
      if (old !== null) setText(byId("stale"), `${why} These numbers are ${seconds(old)} old; the page keeps trying.`);
      else fetchDetail();
    },
  });

  const lastMeasured = () => latest.rounds?.rounds.findLast((round) => typeof round.metrics.accuracy === "number");

  // Called after every good poll, so a call that failed is made up for by the next one.
  async function fetchDetail() {
    const measured = lastMeasured();
    const key = JSON.stringify([measured?.number, measured?.metrics]);
    if (!measured || key === detail?.key || isFetchingDetail) return;
    isFetchingDetail = true;
    try {
      detail = { key, metrics: (await api.call("GET", `${path}/rounds/${measured.number}/metrics`)).metrics };
    } catch {
      detail ??= { key: "", metrics: {} };
    }
    isFetchingDetail = false;
    draw();
  }

  function draw() {
    const { summary, rounds: { rounds } } = /** @type {any} */ (latest);
    drawHeadline(summary);
    drawPool(summary.counts);
    drawPeople(summary);
    drawFailures(summary.failures, mayEngineer, retry);
    drawRounds(byId("rounds"), rounds, showsAllRounds, () => { showsAllRounds = true; draw(); });
    // While the numbers of a measured round are on their way, no table says that there are none.
    if (detail || !lastMeasured()) drawClasses(byId("per-class"), summary.classes, detail?.metrics.per_class ?? {});
    if (detail?.metrics.confusion || !lastMeasured()) setText(byId("confusion-words"), drawConfusion(byId("confusion"), detail?.metrics.confusion));
    const points = curvePoints(rounds);
    setText(byId("curve-words"), curveWords(points) || "\u00a0");
    if (startButton) {
      startButton.toggleAttribute("disabled", summary.round?.state === "running");
      startButton.title = summary.round?.state === "running" ? "A round is running" : "Train on the labels there are, then choose new images";
    }
    const fresh = JSON.stringify(points);
    if (fresh !== drawnCurve || !points.length) { drawnCurve = fresh; curve.show(points); }
  }

  function complain(words) {
    byId("board-error").hidden = !words;
    setText(byId("board-error"), words);
  }

  async function retry(id, button) {
    button.setAttribute("disabled", "");
    try {
      await api.call("POST", `/jobs/${id}/retry`);
      complain("");
    } catch (error) {
      complain(error.code ? error.message : "The server does not answer. Nothing was changed.");
    }
    poll.ask();
  }

  startButton?.addEventListener("click", async () => {
    startButton.setAttribute("disabled", "");
    try {
      const { round } = await api.call("POST", `${path}/rounds`, undefined, { headers: { "Idempotency-Key": newKey() } });
      complain(round.number === latest.summary?.round?.number ? `Round ${round.number} goes on: there are no new labels to learn from yet.` : "");
    } catch (error) {
      complain(error.code ? error.message : "The server does not answer. No round was started.");
    }
    startButton.removeAttribute("disabled");
    poll.ask();
  });

  byId("download-csv").addEventListener("click", (event) => {
    const link = event.currentTarget;
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([roundsCsv(latest.rounds?.rounds ?? [])], { type: "text/csv" }));
  });
  byId("download-csv").setAttribute("href", "#");
  wireMenus(api, { page: "board" });
  poll.ask();
}

start(document.body);
