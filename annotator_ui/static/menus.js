// The two menus of the top bar: other projects, and the person.

import { goToSignIn, projectPath } from "./api.js";
import { el } from "./dom.js";

const ROLES = ["viewer", "labeler", "reviewer", "engineer", "admin"];
/** The pages of a project, and the least role that sees each. */
const PAGES = [["label", "Label", "labeler"], ["review", "Review", "reviewer"], ["board", "Board", "viewer"], ["people", "People", "reviewer"], ["classes", "Classes", "viewer"], ["guidelines", "Guidelines", "reviewer"], ["studies", "Studies", "viewer"], ["images", "Add images", "engineer"]];

/** @param {ReturnType<import("./api.js").createApi>} api @param {{page: "label"|"review"|"board"|"people"|"classes"|"guidelines"|"studies"|"images"|"projects", beforeLeaving?: () => Promise<void>}} options */
export function wireMenus(api, { page, beforeLeaving = async () => {} }) {
  const here = document.body.dataset.project ?? "";
  const may = (least) => ROLES.indexOf(document.body.dataset.role ?? "") >= ROLES.indexOf(least);
  const target = (name, where) => `${projectPath(name)}/${where}`;
  const signOut = async () => {
    await beforeLeaving();
    try { await api.call("DELETE", "/session"); } catch { /* signed out already, or offline: the sign-in page says so */ }
    location.assign("/login");
  };

  wire("switch", async (menu) => {
    menu.append(
      ...PAGES.filter(([name, , least]) => name !== page && may(least)).map(([name, text]) => el("a", { role: "menuitem", href: target(here, name), text })),
      el("a", { role: "menuitem", href: "/", text: "All projects" }),
      ...(page === "label" ? [el("hr"), el("button", { role: "menuitem", type: "button", text: "Sign out", on: { click: signOut } })] : []),
    );
    const { projects } = await api.call("GET", "/projects");
    const others = projects.filter((item) => item.name !== here);
    if (others.length) menu.append(el("hr"), el("p", { class: "menu-note", text: "Other projects" }));
    menu.append(...others.map((item) => el("a", { role: "menuitem", href: target(item.name, page), text: item.name })));
  });
  wire("person", async (menu) => {
    menu.append(
      el("p", { class: "menu-note", text: `Signed in as ${document.body.dataset.user} (${document.body.dataset.role})` }),
      may("engineer") && location.pathname !== "/people" ? el("a", { role: "menuitem", href: "/people", text: "Accounts" }) : "",
      location.pathname !== "/settings" ? el("a", { role: "menuitem", href: "/settings", text: "Your settings" }) : "",
      el("button", { role: "menuitem", type: "button", text: "Sign out", on: { click: signOut } }),
    );
  });
}

/** @param {string} id @param {(menu: HTMLElement) => Promise<void>} fill */
function wire(id, fill) {
  const button = document.getElementById(id);
  const menu = document.getElementById(`${id}-menu`);
  if (!button || !menu) return;
  button.addEventListener("click", () => menu.togglePopover());
  button.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); menu.showPopover(); }
  });
  menu.addEventListener("toggle", (event) => button.setAttribute("aria-expanded", String(/** @type {ToggleEvent} */ (event).newState === "open")));
  menu.addEventListener("beforetoggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
    menu.replaceChildren();
    fill(menu).catch((error) => {
      if (error.status === 401) goToSignIn();
      else menu.append(el("p", { class: "menu-note", text: "The list of projects does not load right now." }));
    });
    place(button, menu);
    requestAnimationFrame(() => menu.querySelector("a, button")?.focus());
  });
  menu.addEventListener("keydown", (event) => move(event, menu));
}

function place(button, menu) {
  const box = button.getBoundingClientRect();
  menu.style.top = `${box.bottom + 4}px`;
  if (box.left > innerWidth / 2) { menu.style.right = `${Math.max(8, innerWidth - box.right)}px`; menu.style.left = "auto"; }
  else { menu.style.left = `${box.left}px`; menu.style.right = "auto"; }
}

function move(event, menu) {
  const items = [...menu.querySelectorAll("a, button")];
  const at = items.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) items[(at + step + items.length) % items.length]?.focus();
  else if (event.key === "Home") items[0]?.focus();
  else if (event.key === "End") items.at(-1)?.focus();
  else if (event.key === "Escape" || event.key === "Tab") hide(menu);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

/** Close it; the focus goes back to where it was before. Who was nowhere would stay on the hidden item until the next frame, and a key pressed by then would be lost. */
function hide(menu) {
  menu.hidePopover();
  if (menu.contains(document.activeElement)) /** @type {HTMLElement} */ (document.activeElement).blur();
}
