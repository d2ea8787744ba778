// The sign-in page.

import { createApi } from "./api.js";
import { byId } from "./dom.js";
import { signInWords } from "./sign_in_dialog.js";

const api = createApi();
const form = byId("sign-in");
const problem = byId("sign-in-error");
const button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, password } = form.elements;
  for (const field of [name, password]) field.removeAttribute("aria-invalid");
  const missing = [name, password].find((field) => !field.value);
  if (missing) return complain(`Please fill in your ${missing.name}.`, missing);
  problem.textContent = "";
  button.disabled = true;
  try {
    await api.signIn(name.value.trim(), password.value);
    location.assign(document.body.dataset.target || "/");
  } catch (error) {
    button.disabled = false;
    complain(signInWords(error), password);
    password.select();
  }
});

function complain(words, field) {
  problem.textContent = words;
  field.setAttribute("aria-invalid", "true");
  field.focus();
}
