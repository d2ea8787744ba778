// The page of a project's studies: what was found, what is under way, and a form that starts one.

import { createApi, projectPath } from "./api.js";
import { byId, setText } from "./dom.js";
import { wireMenus } from "./menus.js";
import { createPoll } from "./poll.js";
import { createList } from "./studies_list.js";
import { createForm } from "./study_form.js";

const EVERY_MS = 2000;

const path = projectPath(document.body.dataset.project ?? "");
const api = createApi();
const list = createList(api, { links: true, ask: () => poll.ask() });
const form = createForm(api, { path, ask: () => poll.ask() });
const poll = createPoll(api, { everyMs: EVERY_MS, paths: { studies: `${path}/studies` }, changed: draw, age: list.age });

function draw({ studies: { studies, outlook } }) {
  list.draw(studies);
  form?.draw(outlook, studies.some((study) => ["queued", "running"].includes(study.state)));
  const isEmpty = studies.length === 0;
  byId("empty").hidden = !isEmpty;
  if (isEmpty) setText(byId("empty"), form ? (outlook.why_not ? "No study yet." : "No study yet. The form starts one; small ones take minutes, large ones hours.") : outlook.why_not ? `No study yet. ${outlook.why_not}.` : "No study yet. An engineer can start one.");
  byId("legend").hidden = !studies.some((study) => study.state === "done");
}

wireMenus(api, { page: "studies" });
poll.ask();
