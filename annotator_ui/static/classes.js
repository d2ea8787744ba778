// The page of a project's classes: which there are with their keys, what became of others, and changes of them.

import { createApi, projectPath } from "./api.js";
import { createChangeDialog } from "./class_dialog.js";
import { createClassList } from "./classes_list.js";
import { byId, seconds, setText } from "./dom.js";
import { wireMenus } from "./menus.js";
import { createPoll } from "./poll.js";

const EVERY_MS = 3000;

const path = projectPath(document.body.dataset.project ?? "");
const api = createApi();
const mayEngineer = ["admin", "engineer"].includes(document.body.dataset.role ?? "");
/** @type {import("./classes_list.js").ClassState[]} */ let active = [];
const dialog = mayEngineer ? createChangeDialog(api, path, { classes: () => active, done }) : null;
const list = createClassList(dialog);
const poll = createPoll(api, { everyMs: EVERY_MS, paths: { classes: `${path}/classes` }, changed: draw, age });

function draw({ classes: { classes } }) {
  active = classes.filter((known) => !known.retired_at);
  list.draw(active, classes.filter((known) => known.retired_at));
  byId("empty").hidden = active.length > 0;
}

/** @param {string} words */
function done(words) {
  setText(byId("done"), words);
  poll.ask();
}

function age(old, why) {
  byId("stale").hidden = old === null;
  if (old !== null) setText(byId("stale"), `${why} What you see is ${seconds(old)} old; the page keeps trying.`);
}

document.getElementById("add")?.addEventListener("click", () => dialog?.add());
wireMenus(api, { page: "classes" });
poll.ask();
