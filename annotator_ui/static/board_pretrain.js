// Training a backbone without labels: started by engineers, followed here until it is over.

import { byId, count, percent, plural, seconds, setText } from "./dom.js";

const KIND = "pretrain";

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {{project: string, path: string, complain: (words: string) => void, ask: () => void}} options
 */
export function createPretrain(api, { project, path, complain, ask }) {
  const button = byId("pretrain");
  const stop = byId("pretrain-stop");
  /** @type {number|null} */ let following = null;
  let outcome = "";
  /** The button pressed last, while it is not clear where the focus belongs. @type {HTMLElement|null} */ let pressed = null;

  async function act(by, what, nothingHappened) {
    pressed = by;
    button.disabled = stop.disabled = true;
    try {
      await what();
      complain("");
    } catch (error) {
      complain(error.code ? error.message : `The server does not answer. ${nothingHappened}`);
    }
    button.disabled = !stop.hidden;
    stop.disabled = false;
    ask();
  }

  button.addEventListener("click", () => act(button, async () => { following = (await api.call("POST", `${path}/pretrainings`)).job.id; outcome = ""; }, "No training was started."));
  stop.addEventListener("click", () => act(stop, () => api.call("POST", `/jobs/${following}/cancel`), "The training goes on."));

  // A job that is over is in no summary: its own answer says how it ended.
  async function learnTheEnd(id) {
    try {
      const { job } = await api.call("GET", `/jobs/${id}`);
      // The summary was older than the job.
      if (["queued", "running"].includes(job.state)) { show(job); return; }
      outcome = outcomeWords(job, project);
    } catch {
      outcome = "";
    }
    following = null;
    show(null);
  }

  function show(job) {
    byId("pretrain-meter").hidden = stop.hidden = !job;
    button.disabled = Boolean(job);
    byId("pretrain-meter").style.setProperty("--part", String(job?.progress.total ? job.progress.done / job.progress.total : 0));
    setText(byId("pretrain-words"), job ? progressWords(job) : outcome || "It learns from all images of the pool, the unlabelled ones too.");
    moveFocus(job ? button : stop, job ? stop : button);
  }

  // A button that goes away or cannot be pressed any more hands the focus to the other one.
  function moveFocus(from, to) {
    if (pressed !== from) return;
    if ([document.body, from].includes(document.activeElement)) to.focus();
    pressed = null;
  }

  return {
    /** @param {any} summary */
    draw({ jobs }) {
      const job = jobs.find((one) => one.kind === KIND) ?? null;
      if (job) following = job.id;
      if (job || following === null) show(job);
      else learnTheEnd(following);
    },
  };
}

function progressWords({ state, progress }) {
  if (state === "queued") return "Waiting for a worker.";
  const parts = [progress.total ? `${percent(progress.done / progress.total, 0)} done` : "Running"];
  if (progress.seconds_left >= 1) parts.push(`about ${seconds(progress.seconds_left)} left`);
  return [...parts, progress.text].filter(Boolean).join(" · ");
}

function outcomeWords({ state, result }, project) {
  if (state === "cancelled") return "The training was stopped; nothing was changed.";
  if (state !== "done") return "The training failed; the reason is above, under failed jobs.";
  const from = [typeof result.images === "number" && plural(result.images, "image"), typeof result.epochs === "number" && `${count(result.epochs)} epochs`, typeof result.seconds === "number" && seconds(result.seconds)].filter(Boolean).join(", ");
  const knn = typeof result.knn_accuracy === "number" && typeof result.knn_accuracy_before === "number" ? ` Nearest neighbours are right ${percent(result.knn_accuracy, 0)} of the time, ${percent(result.knn_accuracy_before, 0)} before.` : "";
  return `The backbone is trained${from ? ` (${from})` : ""}.${knn} To use it: al project set ${project} weights=pretrained`;
}
