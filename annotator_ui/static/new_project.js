// The form for a new project: create it, import its images, show how far the import is.

import { projectPath } from "./api.js";
import { byId, count, openDialog, plural, setText } from "./dom.js";

const POLL_MS = 500;

/** Class names from lines or commas, in order, without repeats. @param {string} text */
export const classNames = (text) => [...new Set(text.split(/[\n,]/).map((name) => name.trim()).filter(Boolean))];

/** @param {ReturnType<import("./api.js").createApi>} api @param {() => void} changed */
export function wireNewProject(api, changed) {
  const form = document.getElementById("project-form");
  if (!(form instanceof HTMLFormElement)) return;
  const dialog = byId("project-dialog");
  const problem = byId("project-error");
  const submit = byId("project-submit");
  let created = "";

  const fields = () => /** @type {any} */ (form.elements);
  const open = () => {
    form.reset();
    created = "";
    setText(problem, "");
    fields().name.readOnly = false;
    byId("project-job").hidden = true;
    byId("project-open").hidden = true;
    submit.hidden = false;
    submit.disabled = false;
    openDialog(dialog);
    fields().name.focus();
  };
  for (const id of ["new-project", "first-project"]) document.getElementById(id)?.addEventListener("click", open);
  byId("project-close").addEventListener("click", () => dialog.close());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(problem, "");
    submit.disabled = true;
    try {
      await create();
    } catch (error) {
      setText(problem, error.code ? error.message : "The server does not answer. Nothing was changed; try again.");
      submit.disabled = false;
    }
  });

  async function create() {
    const { name, classes, location } = fields();
    if (!created) {
      await api.call("POST", "/projects", { name: name.value.trim(), classes: classNames(classes.value), settings: {} });
      created = name.value.trim();
      name.readOnly = true;
      changed();
    }
    if (location.value.trim()) {
      const body = { location: location.value.trim(), labels: "auto", use_labels: fields().use_labels.value, split: null };
      const { job } = await api.call("POST", `${projectPath(created)}/imports`, body);
      await follow(job.id);
    } else {
      done("The project is there. Import images to start: al ingest " + created + " /path/to/images");
    }
  }

  async function follow(id) {
    const bar = byId("project-job-bar");
    byId("project-job").hidden = false;
    for (;;) {
      const { job } = await api.call("GET", `/jobs/${id}`);
      const { done: ready, total, text } = job.progress ?? { done: 0, total: null, text: "" };
      if (total) { bar.max = total; bar.value = ready; } else bar.removeAttribute("value");
      if (job.state === "done") return done(resultWords(job.result ?? {}, ready));
      if (job.state === "failed" || job.state === "cancelled") throw Object.assign(new Error(`The import ${job.state === "failed" ? "failed" : "was cancelled"}: ${job.error ?? "no reason given"}`), { code: "import" });
      setText(byId("project-job-text"), text || (job.state === "queued" ? "Waiting for a worker" : `${count(ready)}${total ? ` of ${count(total)}` : ""} images read`));
      if (!dialog.open) return undefined;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  function done(words) {
    byId("project-job").hidden = false;
    byId("project-job-bar").hidden = true;
    setText(byId("project-job-text"), words);
    submit.hidden = true;
    const link = byId("project-open");
    link.hidden = false;
    link.href = `${projectPath(created)}/board`;
    link.focus();
    changed();
  }
}

function resultWords(result, ready) {
  const added = result.added ?? result.imported ?? ready;
  const rejected = result.rejected ?? 0;
  return `${plural(added, "image")} imported${rejected ? `, ${count(rejected)} rejected; the job’s page in the API lists why` : ""}.`;
}
