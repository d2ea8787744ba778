// Uploads of this project that stopped half-way, or are being imported: what is there, and how to go on or remove it.

import { projectPath } from "./api.js";
import { byId, el, percent, plural } from "./dom.js";
import { sizeWords } from "./found_view.js";

/** @param {ReturnType<import("./api.js").createApi>} api @param {string} project */
export async function showUnfinished(api, project) {
  const path = `${projectPath(project)}/uploads`;
  const { uploads } = await api.call("GET", path);
  const open = uploads.filter((upload) => upload.missing.length);
  byId("unfinished").hidden = open.length === 0;
  byId("unfinished-list").replaceChildren(...open.map((upload) => {
    const part = 1 - upload.missing.length / upload.part_count;
    const files = upload.file_count ? `${plural(upload.file_count, "file")}, ` : "";
    const remove = async (event) => {
      event.target.disabled = true;
      await api.call("DELETE", `${path}/${upload.id}`).catch(() => { /* gone already, or it is removed after a day */ });
      await showUnfinished(api, project);
    };
    return el("li", {},
      el("p", {}, el("b", { text: upload.name }), ` (${files}${sizeWords(upload.byte_count)}): ${percent(part, 0)} is here, begun by ${upload.begun_by}. Choose the same again to go on; it is kept for a day.`),
      el("button", { class: "button small-button", type: "button", text: "Remove", "aria-label": `Remove ${upload.name}`, on: { click: remove } }));
  }));
}
