// New project, and more images for one that is there: choose, look at what was found, send, watch the import, go on.

import { ApiError, createApi, goToSignIn, projectPath } from "./api.js";
import { classNames } from "./class_names.js";
import { byId, setText } from "./dom.js";
import { look } from "./found_files.js";
import { notes, showFound, showLooking, showNotes } from "./found_view.js";
import { followJob } from "./import_watch.js";
import { createImportView } from "./import_view.js";
import { wireMenus } from "./menus.js";
import { fromDrop, fromField } from "./picked_files.js";
import { sendableFile, sendableFolder } from "./tar_pack.js";
import { showUnfinished } from "./unfinished.js";
import { createSender } from "./upload_sender.js";

const api = createApi();
const form = byId("import");
const fields = form.elements;
const view = createImportView(form);
const isNew = !document.body.dataset.project;
let project = document.body.dataset.project ?? "";
let projectClasses = /** @type {string[]} */ (JSON.parse(document.body.dataset.classes ?? "[]"));
/** @type {import("./picked_files.js").Picked|null} */ let picked = null;
/** @type {import("./found_files.js").Found|null} */ let found = null;
/** @type {AbortController} */ let looking = new AbortController();
/** @type {ReturnType<typeof createSender>|null} */ let sender = null;
let offered = "";

const useLabels = () => String(fields.use_labels.value);
const bytesOf = (choice, seen) => (choice.kind === "archive" ? choice.file.size : (seen.files ?? choice.files).reduce((sum, { file }) => sum + file.size, 0));

/** @param {import("./picked_files.js").Picked|null} choice */
async function choose(choice) {
  if (!choice || view.isAtWork()) return;
  looking.abort();
  const mine = looking = new AbortController();
  picked = choice;
  found = null;
  view.problem("");
  view.state("looking");
  byId("found").hidden = false;
  setText(byId("found-name"), choice.name);
  showLooking(0);
  if (isNew && !fields.name.value) fields.name.value = projectName(choice.name);
  try {
    const seen = await look(choice, { counted: showLooking, signal: mine.signal });
    if (mine.signal.aborted) return;
    found = seen;
  } catch (error) {
    if (mine.signal.aborted) return;
    throw error;
  }
  showFound(found, bytesOf(choice, found));
  offerClasses(found);
  note();
  view.state("found");
}

/** "Birds (2).zip" -> "Birds-2" @param {string} name */
function projectName(name) {
  return name.replace(/(\.tar)?\.\w{1,4}$/, "").replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+|[-._]+$/g, "").slice(0, 64);
}

/** The folders' names, unless somebody has typed others. @param {import("./found_files.js").Found} seen */
function offerClasses(seen) {
  if (!isNew || (fields.classes.value.trim() && fields.classes.value !== offered)) return;
  offered = [...seen.classes.keys()].join("\n");
  fields.classes.value = offered;
}

function note() {
  if (found) showNotes(notes(found, isNew ? classNames(fields.classes.value) : projectClasses, useLabels()));
}

function forget() {
  looking.abort();
  picked = null;
  found = null;
  byId("found").hidden = true;
  for (const id of ["folder-field", "files-field"]) byId(id).value = "";
  view.problem("");
  view.state("empty");
  byId("choose-folder").focus();
}

/** What is wrong with the form, and where; null when nothing is. @returns {{words: string, field: HTMLElement}|null} */
function mistake() {
  if (isNew && !project && !fields.name.value.trim()) return { words: "Give the project a name.", field: fields.name };
  const place = fields.location.value.trim();
  if (!isNew && !picked && !place) return { words: "Choose images first.", field: byId("choose-folder") };
  if (picked && !found) return { words: "Still looking at what you chose. One moment.", field: byId("start") };
  if (picked && found?.problem) return { words: `What you chose cannot be used: ${found.problem}.`, field: byId("forget") };
  if (picked && found?.images === 0) return { words: "There is no image in what you chose.", field: byId("forget") };
  const hasClasses = isNew ? classNames(fields.classes.value).length : projectClasses.length;
  const mayBring = place || !found || found.images === null || found.tables.length || (found.classes.size && useLabels() !== "none");
  if (picked && !hasClasses && !mayBring) return { words: isNew ? "Name the classes: nothing in what you chose says them." : "This project has no classes, and nothing in what you chose says them.", field: isNew ? fields.classes : byId("forget") };
  return null;
}

async function start() {
  view.problem("");
  const wrong = mistake();
  if (wrong) { view.problem(wrong.words); wrong.field.focus(); return; }
  try {
    if (isNew && !project) await create();
    const place = fields.location.value.trim();
    if (picked) await send(picked, /** @type {import("./found_files.js").Found} */ (found));
    else if (place) await importFrom(place);
    else location.assign(`${projectPath(project)}/images`);
  } catch (error) {
    fail(error);
  }
}

async function create() {
  const name = fields.name.value.trim();
  view.state("creating");
  await api.call("POST", "/projects", { name, classes: classNames(fields.classes.value), settings: {} });
  project = name;
  fields.name.readOnly = true;
  fields.classes.readOnly = true;
  projectClasses = classNames(fields.classes.value);
}

/** @param {import("./picked_files.js").Picked} choice @param {import("./found_files.js").Found} seen */
async function send(choice, seen) {
  const files = choice.kind === "files" ? seen.files ?? choice.files : null;
  const thing = choice.kind === "archive" ? sendableFile(choice.file) : sendableFolder(choice.name, files ?? []);
  sender = createSender(api, project, thing, files ? files.length : null, (state) => view.sending(choice.name, state));
  await goOn();
}

async function goOn() {
  const place = await sender?.run();
  if (!place) return;
  sender = null;
  await importFrom(place);
}

/** @param {string} place */
async function importFrom(place) {
  view.importing(null, true);
  const { job } = await api.call("POST", `${projectPath(project)}/imports`, { location: place, labels: "auto", use_labels: useLabels(), split: null });
  await watch(job.id);
}

/** @param {number} id */
async function watch(id) {
  const job = await followJob(api, id, (state) => view.importing(state, false));
  view.over(job, project);
}

function fail(error) {
  if (error instanceof ApiError && error.status === 401 && !sender) return goToSignIn();
  view.failed(error instanceof ApiError ? error.message : "The server does not answer. Nothing is lost; try again.");
  if (!(error instanceof ApiError) && error.name !== "UnreachableError" && !error.message?.includes("fetch")) console.error(error);
  return undefined;
}

function wire() {
  byId("choose-folder").addEventListener("click", () => byId("folder-field").click());
  byId("choose-files").addEventListener("click", () => byId("files-field").click());
  for (const id of ["folder-field", "files-field"]) byId(id).addEventListener("change", () => choose(fromField(byId(id).files)));
  byId("forget").addEventListener("click", forget);
  form.addEventListener("change", note);
  if (isNew) fields.classes.addEventListener("input", note);
  form.addEventListener("submit", (event) => { event.preventDefault(); if (!view.isAtWork()) start(); });
  byId("pause").addEventListener("click", () => sender?.pause());
  byId("go-on").addEventListener("click", () => goOn().catch(fail));
  byId("cancel").addEventListener("click", async () => { await sender?.cancel(); sender = null; view.state(picked ? "found" : "empty"); });
  byId("more").addEventListener("click", () => (isNew ? location.assign(`${projectPath(project)}/images`) : forget()));
  addEventListener("beforeunload", (event) => { if (sender) event.preventDefault(); });
  wireDrop();
}

function wireDrop() {
  let depth = 0;
  const mark = (isOver) => { if (isOver && !view.isAtWork()) form.dataset.dragging = ""; else delete form.dataset.dragging; };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (carriesFiles(event)) { event.preventDefault(); depth += 1; mark(true); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) mark(false); });
  addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    depth = 0;
    mark(false);
    try {
      await choose(await fromDrop(event.dataTransfer));
    } catch {
      view.problem("This folder cannot be read. Choose it with the button, or pack it as an archive.");
    }
  });
}

/** What is under way already: an import that runs, uploads that stopped half-way. */
async function takeUp() {
  await showUnfinished(api, project);
  const { jobs } = await api.call("GET", `${projectPath(project)}/imports?limit=1`);
  if (jobs.length && ["queued", "running"].includes(jobs[0].state) && !view.isAtWork() && !picked) await watch(jobs[0].id);
}

wireMenus(api, { page: isNew ? "projects" : "images" });
wire();
if (!isNew) takeUp().catch(fail);
