// Example images of the classes, below the guidelines. They come when the guidelines are first opened.

import { projectPath } from "./api.js";
import { el } from "./dom.js";

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} project @param {HTMLElement} panel
 * @param {{name: string, position: number}[]} classes
 */
export function createExamples(api, project, panel, classes) {
  const list = el("div", { class: "examples", "aria-live": "polite" });
  panel.append(list);
  let etag = null;

  const note = (text) => el("p", { class: "quiet small", text });

  function draw(examples) {
    const names = [...new Set(examples.map((one) => one.class_name))];
    list.replaceChildren(...names.map((name) => section(name, examples.filter((one) => one.class_name === name))));
  }

  function section(name, examples) {
    const position = classes.find((info) => info.name === name)?.position ?? 0;
    return el("section", { class: `c${position % 8}` }, el("h3", {}, el("i", { "aria-hidden": "true" }), name), el("ul", {}, ...examples.map(figure)));
  }

  function figure(one) {
    const image = el("img", { src: one.image_url.replace("size=1024", "size=256"), alt: `Example of ${one.class_name}${one.note ? `: ${one.note}` : ""}`, width: one.width, height: one.height, loading: "lazy", class: Math.max(one.width, one.height) < 64 ? "pixels" : null });
    return el("li", {}, image, one.note && el("p", { class: "small", text: one.note }));
  }

  return {
    async load() {
      if (!list.childElementCount) list.replaceChildren(note("Examples are on their way."));
      try {
        const reply = await api.changed(`${projectPath(project)}/examples`, etag);
        if (!reply) return;
        etag = reply.etag;
        draw(reply.data.examples);
      } catch {
        if (etag === null) list.replaceChildren(note("The examples do not load right now."));
      }
    },
  };
}
