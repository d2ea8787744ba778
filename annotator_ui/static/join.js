// Behind a link: join with a name and a password, or choose a new password. The secret stays behind the # of the address.

import { ApiError, createApi } from "./api.js";
import { byId, setText } from "./dom.js";

// For nobody: whoever is signed in here signs in as the new person in the end.
const api = createApi("");
const form = byId("join");
const secret = location.hash.slice(1);
const until = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const article = (role) => (/^[aeiou]/.test(role) ? `an ${role}` : `a ${role}`);

async function look() {
  byId("join-over").hidden = true;
  setText(byId("join-words"), "Looking at your link");
  if (!secret) return over("This address is no link to join by: what comes after the # is missing. Copy the whole link.", false);
  try {
    const link = await api.call("POST", "/invitations/look", { secret });
    const { name, password } = form.elements;
    if (link.user) {
      setText(byId("join-title"), "Choose a new password");
      setText(byId("join-words"), `For ${link.user}. This link is good until ${until.format(new Date(link.expires_at))}.`);
      setText(byId("join-submit"), "Set it and sign in");
      name.value = link.user;
      name.readOnly = true;
      byId("join-name-hint").hidden = true;
    } else {
      setText(byId("join-words"), `${link.made_by} invites you as ${article(link.role)}.`);
    }
    byId("join-fields").hidden = false;
    (link.user ? password : name).focus();
  } catch (error) {
    over(words(error), !(error instanceof ApiError) || error.status !== 404);
  }
  return undefined;
}

/** @param {string} text @param {boolean} mayTryAgain */
function over(text, mayTryAgain) {
  byId("join-fields").hidden = true;
  byId("join-over").hidden = false;
  byId("join-again").hidden = !mayTryAgain;
  setText(byId("join-words"), text);
}

function words(error) {
  if (!(error instanceof ApiError)) return "The server does not answer. Try again in a moment.";
  return error.message[0].toUpperCase() + error.message.slice(1) + (/[.!?]$/.test(error.message) ? "" : ".");
}

function complain(text, field) {
  setText(byId("join-error"), text);
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, password } = form.elements;
  for (const field of [name, password]) field.removeAttribute("aria-invalid");
  setText(byId("join-error"), "");
  if (!name.value.trim()) return complain("Choose a name.", name);
  if (password.value.length < 8) return complain("The password needs at least 8 characters.", password);
  byId("join-submit").disabled = true;
  try {
    await api.call("POST", "/invitations/accept", { secret, name: name.value.trim(), password: password.value });
    history.replaceState(null, "", location.pathname);
    await api.signIn(name.value.trim(), password.value);
    location.assign("/");
  } catch (error) {
    byId("join-submit").disabled = false;
    if (error instanceof ApiError && error.code === "invitation_over") return over(words(error), false);
    const isPassword = error instanceof ApiError && error.message.includes("password");
    complain(error instanceof ApiError && error.status === 409 ? "Somebody has this name already. Choose another." : words(error), isPassword ? password : name);
  }
  return undefined;
});
byId("show-password").addEventListener("change", (event) => { form.elements.password.type = event.target.checked ? "text" : "password"; });
byId("join-again").addEventListener("click", look);
addEventListener("hashchange", () => location.reload());
look();
