// The page of a project's guidelines: their text, beside it what the label page shows of it, and the examples.

import { createApi, projectPath } from "./api.js";
import { byId, setText } from "./dom.js";
import { guideWords } from "./guide.js";
import { createEditor } from "./guidelines_editor.js";
import { createExampleList } from "./guidelines_examples.js";
import { wireMenus } from "./menus.js";

const NOTHING = "The label page shows no guidelines yet.";

const { project = "", user = "", role = "", guidelines = '""', classes: classList = "[]" } = document.body.dataset;
const classes = JSON.parse(classList).map(([name, position]) => ({ name, position }));
const api = createApi();
let text = JSON.parse(guidelines);
let exampleCount = 0;

function drawPreview() {
  const words = guideWords(text, exampleCount > 0);
  setText(byId("guide-text"), words || NOTHING);
  byId("guide-text").classList.toggle("none", !words);
}

/** @param {number} count */
function counted(count) {
  exampleCount = count;
  byId("no-examples").hidden = count > 0;
  byId("has-examples").hidden = count === 0;
  drawPreview();
}

if (["admin", "engineer"].includes(role)) {
  createEditor(api, projectPath(project), { stored: text, scope: `${project}/${user}`, classes, written: (now) => { text = now; drawPreview(); } });
}
drawPreview();
createExampleList(api, project, classes, counted).load();
wireMenus(api, { page: "guidelines" });
