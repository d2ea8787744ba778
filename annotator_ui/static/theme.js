// Light, dark or as the system says. A classic script in the head, so that the first paint has the right colours.
// The server's choice comes with the page; the one in this browser counts while it is not sent yet.
(() => {
  const root = document.documentElement;
  const { person, ownTheme } = root.dataset;
  let [theme, unsent] = /** @type {[string, string|null]} */ (["system", null]);
  try {
    unsent = localStorage.getItem(`al-unsent:${person}`);
    if (ownTheme && !unsent) localStorage.setItem("al-theme", ownTheme);
    theme = localStorage.getItem("al-theme") || theme;
  } catch { /* private mode */ }
  if (theme !== "system") root.dataset.theme = theme;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const own = () => import("./own_settings.js");
    const show = () => {
      const now = root.dataset.theme ?? "follows the system";
      if (button) button.title = button.ariaLabel = `Theme: ${now}`;
    };
    show();
    document.addEventListener("themechange", show);
    button?.addEventListener("click", () => own().then((part) => part.nextTheme(), () => {}));
    if (unsent) own().then((part) => part.sendSettings({}), () => {});
  });
})();
