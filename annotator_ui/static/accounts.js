// Accounts: invite by a link, see the open links, change roles, switch accounts off and on, let somebody choose a new password.

import { ApiError, createApi, goToSignIn } from "./api.js";
import { byId, el, plural, setText } from "./dom.js";
import { wireMenus } from "./menus.js";

const ROLES = ["admin", "engineer", "reviewer", "labeler", "viewer"];
/** What each role may do, for whoever chooses one. @type {Record<string, string>} */
const ROLE_WORDS = {
  admin: "Admins manage people and may do everything else.", engineer: "Engineers make projects, import images, start rounds and invite labelers and reviewers.",
  reviewer: "Reviewers label, and check and take back what others answered.", labeler: "Labelers answer in the queue.", viewer: "Viewers look at boards.",
};

const api = createApi();
const me = document.body.dataset.user ?? "";
const mayManage = document.body.dataset.role === "admin";
const form = byId("invite");
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Run it; what goes wrong is said there. @param {Element} where @param {() => Promise<void>} work */
async function attempt(where, work) {
  setText(where, "");
  try {
    await work();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return goToSignIn();
    const words = error instanceof ApiError ? error.message : "The server does not answer. Nothing was changed; try again.";
    setText(where, words[0].toUpperCase() + words.slice(1));
  }
  return undefined;
}

/** @param {{path: string, invitation: any}} made @param {string} words */
function showLink(made, words) {
  byId("new-link").hidden = false;
  setText(byId("new-link-words"), words);
  byId("new-link-address").value = location.origin + made.path;
  byId("copy-link").textContent = "Copy";
  byId("copy-link").focus();
}

async function copy() {
  const field = byId("new-link-address");
  field.select();
  let isCopied = false;
  // Without https the clipboard is closed to pages; the old way still works there.
  try { await navigator.clipboard.writeText(field.value); isCopied = true; } catch { isCopied = document.execCommand("copy"); }
  byId("copy-link").textContent = isCopied ? "Copied" : "Press Ctrl C";
}

async function showLinks() {
  const { invitations } = await api.call("GET", "/invitations");
  byId("open-panel").hidden = invitations.length === 0;
  byId("open-links").replaceChildren(...invitations.map((link) => {
    const what = link.user ? `New password for ${link.user}` : `${link.role}${link.note ? `, ${link.note}` : ""}`;
    const used = link.uses_max > 1 ? `, ${link.uses} of ${link.uses_max} joined` : "";
    const withdraw = () => attempt(byId("invite-error"), async () => { await api.call("DELETE", `/invitations/${link.id}`); await showLinks(); byId("invite-title").focus(); });
    return el("li", {},
      el("p", {}, el("b", { text: what }), el("span", { class: "quiet", text: ` by ${link.made_by}, until ${moment.format(new Date(link.expires_at))}${used}` })),
      el("button", { class: "button small-button", type: "button", text: "Withdraw", "aria-label": `Withdraw the link: ${what}`, on: { click: withdraw } }));
  }));
}

async function showAccounts() {
  if (!mayManage) return;
  const { users } = await api.call("GET", "/users");
  const table = byId("accounts");
  table.setAttribute("aria-busy", "false");
  const focused = document.activeElement?.getAttribute("aria-label");
  table.tBodies[0].replaceChildren(...users.map(row));
  if (focused) table.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

/** @param {{name: string, role: string, is_active: boolean, created_at: string}} user */
function row(user) {
  const change = (values) => attempt(byId("accounts-error"), async () => {
    try { await api.call("PATCH", `/users/${encodeURIComponent(user.name)}`, values); } finally { await showAccounts(); }
  });
  const offer = () => attempt(byId("accounts-error"), async () => {
    const made = await api.call("POST", `/users/${encodeURIComponent(user.name)}/password-link`);
    showLink(made, `Send this to ${user.name}, by a way that nobody else reads. It is shown this once, and good for a day.`);
    await showLinks();
  });
  const roles = el("select", { "aria-label": `Role of ${user.name}`, on: { change: (event) => change({ role: event.target.value }) } }, ...ROLES.map((role) => el("option", { value: role, text: role, selected: role === user.role })));
  return el("tr", { dataset: user.is_active ? {} : { off: "" } },
    el("td", {}, el("span", { class: "account-name", text: user.name }), user.name === me ? el("span", { class: "quiet", text: " (you)" }) : null, user.is_active ? null : el("span", { class: "quiet", text: " switched off" })),
    el("td", {}, roles), el("td", { class: "quiet", text: day.format(new Date(user.created_at)) }),
    el("td", {},
      user.is_active ? el("button", { class: "button small-button", type: "button", text: "Password link", "aria-label": `Password link for ${user.name}`, on: { click: offer } }) : null,
      el("button", { class: "button small-button", type: "button", text: user.is_active ? "Switch off" : "Switch on", "aria-label": `${user.is_active ? "Switch off" : "Switch on"} ${user.name}`, on: { click: () => change({ is_active: !user.is_active }) } })));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(byId("invite-error"), async () => {
    const { role, days, uses, note } = form.elements;
    const people = Number(uses.value);
    if (!Number.isInteger(people) || people < 1 || people > 500) { uses.focus(); throw new ApiError(400, "uses", "A link is good for 1 to 500 people.", null); }
    const made = await api.call("POST", "/invitations", { role: role.value, days: Number(days.value), uses: people, note: note.value });
    showLink(made, `Send this to ${people === 1 ? "one person" : plural(people, "person", "people")}, by a way that nobody else reads. It is shown this once.`);
    note.value = "";
    await showLinks();
  });
});
const sayRole = () => setText(byId("role-words"), ROLE_WORDS[form.elements.role.value]);
form.elements.role.addEventListener("change", sayRole);
byId("copy-link").addEventListener("click", copy);
byId("invite-title").tabIndex = -1;
sayRole();
wireMenus(api, { page: "projects" });

async function refresh() {
  try {
    await Promise.all([showLinks(), showAccounts()]);
    byId("notice").hidden = true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) { goToSignIn(); return; }
    byId("notice").hidden = false;
    setText(byId("notice"), "The server does not answer. What you see may be old; this page tries again when the connection is back.");
  }
}
refresh();
addEventListener("online", refresh);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
