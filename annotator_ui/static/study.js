// The page of one study: until it is done, how far it is; then the report, which the server brings whole.

import { createApi, projectPath } from "./api.js";
import { wireMenus } from "./menus.js";
import { createPoll } from "./poll.js";
import { createList } from "./studies_list.js";

const EVERY_MS = 2000;

const { project = "", study: id = "", state = "" } = document.body.dataset;
const api = createApi();
wireMenus(api, { page: "studies" });
if (state !== "done") {
  const list = createList(api, { links: false, ask: () => poll.ask() });
  const poll = createPoll(api, {
    everyMs: EVERY_MS,
    paths: { one: `${projectPath(project)}/studies/${id}` },
    changed: ({ one: { study } }) => (study.state === "done" ? location.reload() : list.draw([study])),
    age: list.age,
  });
  poll.ask();
}
