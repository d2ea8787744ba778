// Signing in again without leaving the page, and why it did not work.

import { ApiError } from "./api.js";
import { byId, el, openDialog, plural, setText } from "./dom.js";

/** Why signing in did not work, in words. @param {unknown} error */
export function signInWords(error) {
  if (!(error instanceof ApiError)) return "The server does not answer. Check the connection and try again.";
  if (error.code === "sign_in_failed") return "Name or password is not right.";
  if (error.status >= 500) return "The service has a problem right now. Try again in a moment.";
  return error.message;
}

/** @param {ReturnType<import("./api.js").createApi>} api @param {() => void} signedIn */
export function createSignInDialog(api, signedIn) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("sign-in-dialog") ?? makeDialog());
  const form = byId("again-form");
  const problem = form.querySelector(".form-error");
  dialog.dataset.stay = "1";
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(problem, "");
    const { name, password } = form.elements;
    try {
      await api.signIn(name.value, password.value);
      password.value = "";
      dialog.close();
      signedIn();
    } catch (error) {
      setText(problem, signInWords(error));
      password.select();
    }
  });
  return {
    /** @param {number} unsaved */
    open(unsaved) {
      setText(byId("again-text"), unsaved ? `You were signed out. Your ${plural(unsaved, "answer")} ${unsaved === 1 ? "is" : "are"} kept here and will be sent.` : "You were signed out.");
      if (dialog.open) return;
      openDialog(dialog);
      form.elements.password.focus();
    },
  };
}

/** The dialog, for pages that do not bring it along. */
function makeDialog() {
  const dialog = el("dialog", { class: "dialog", id: "sign-in-dialog", "aria-labelledby": "again-title" },
    el("form", { id: "again-form", novalidate: true }, el("h2", { id: "again-title", text: "Please sign in again" }),
      el("p", { class: "quiet", id: "again-text" }),
      el("label", { class: "field" }, el("span", { text: "Name" }), el("input", { name: "name", value: document.body.dataset.user ?? "", readonly: true, autocomplete: "username" })),
      el("label", { class: "field" }, el("span", { text: "Password" }), el("input", { name: "password", type: "password", autocomplete: "current-password", required: true })),
      el("p", { class: "form-error", role: "alert" }),
      el("div", { class: "row end" }, el("a", { class: "button", href: `/login?next=${encodeURIComponent(location.pathname)}`, text: "Another person" }), el("button", { class: "button primary", type: "submit", text: "Sign in" }))));
  document.body.append(dialog);
  return dialog;
}
