// The round board: what the loop does now, how good the model is, who works, what failed.

import { createApi, projectPath } from "./api.js";
import { adviceOf, drawAdvice } from "./board_advice.js";
import { createCalibration } from "./board_calibration.js";
import { createClassTable } from "./board_classes.js";
import { createCompare } from "./board_compare.js";
import { wireCsv } from "./board_csv.js";
import { createCurve, curvePoints, curveWords } from "./board_curve.js";
import { createDetail } from "./board_detail.js";
import { createModels } from "./board_models.js";
import { drawFailures, drawHeadline, drawPeople, drawPool } from "./board_panels.js";
import { createPull } from "./board_pull.js";
import { createPretrain } from "./board_pretrain.js";
import { drawStop } from "./board_stop.js";
import { drawConfusion, drawRounds, roundsCsv } from "./board_tables.js";
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
  const calibration = createCalibration(body.dataset.plotly ?? "");
  const classTable = createClassTable(byId("per-class"));
  const detail = createDetail(api, path, () => draw());
  const startButton = document.getElementById("start-round");
  const advice = document.getElementById("advice");
  let showsAllRounds = false;
  /** @type {{summary?: any, rounds?: any, models?: any}} */ let latest = {};
  let drawnCurve = "";

  const poll = createPoll(api, {
    everyMs: EVERY_MS, paths: { summary: `${path}/summary`, rounds: `${path}/rounds`, models: `${path}/models` },
    changed: (data) => { latest = data; draw(); },
    age: (old, why) => {
      byId("stale").hidden = old === null;
      if (old !== null) setText(byId("stale"), `${why} These numbers are ${seconds(old)} old; the page keeps trying.`);
      else detail.fetch(latest.rounds?.rounds ?? []);
    },
  });

  const modelTable = createModels(api, { path, mayPromote: mayEngineer, ask: poll.ask });
  const comparison = createCompare(api, path);
  const pretrain = document.getElementById("pretrain") && createPretrain(api, { project, path, complain, ask: poll.ask });

  function draw() {
    const { summary, rounds: { rounds }, models } = /** @type {any} */ (latest);
    drawHeadline(summary);
    drawPool(summary.counts, summary.holders);
    drawPeople(summary);
    drawStop(summary, rounds);
    drawFailures(summary.failures, mayEngineer, retry);
    drawRounds(byId("rounds"), rounds, showsAllRounds, () => { showsAllRounds = true; draw(); });
    drawDetail(summary, detail.of(rounds));
    if (advice) drawAdvice(advice, adviceOf(rounds.findLast((round) => typeof round.metrics.accuracy === "number")?.metrics), project);
    modelTable.show(models);
    comparison.show(models.models);
    pretrain?.draw(summary);
    const points = curvePoints(rounds);
    setText(byId("curve-words"), curveWords(points) || "\u00a0");
    if (startButton) {
      startButton.toggleAttribute("disabled", summary.round?.state === "running");
      startButton.title = summary.round?.state === "running" ? "A round is running" : "Train on the labels there are, then choose new images";
    }
    const fresh = JSON.stringify(points);
    if (fresh !== drawnCurve || !points.length) { drawnCurve = fresh; curve.show(points); }
  }

  /** @param {any} summary @param {import("./board_detail.js").Detail} found */
  function drawDetail(summary, found) {
    calibration.show(found);
    if (found.round !== null) byId("calibration-json").setAttribute("href", `/api/v1${path}/rounds/${found.round}/metrics`);
    // While the numbers of a measured round are on their way, no table says that there are none.
    if (found.state === "loading") return;
    classTable.show(summary.classes, found.metrics.per_class ?? {});
    const confusionWords = drawConfusion(byId("confusion"), found.metrics.confusion);
    setText(byId("confusion-words"), found.state === "failed" ? "These numbers do not load right now. The page keeps trying." : confusionWords);
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

  wireCsv(byId("download-csv"), () => roundsCsv(latest.rounds?.rounds ?? []));
  wireCsv(byId("calibration-csv"), calibration.csv);
  wireMenus(api, { page: "board" });
  const pull = document.getElementById("pull");
  if (pull) createPull(api, path, pull);
  poll.ask();
}

start(document.body);
