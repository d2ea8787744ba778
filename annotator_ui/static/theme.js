// Light, dark or as the system says. A classic script in the head, so that the first paint has the right colours.
(() => {
  const KEY = "al-theme";
  const ORDER = ["system", "light", "dark"];
  const WORDS = { system: "follows the system", light: "light", dark: "dark" };
  const read = () => {
    try { return localStorage.getItem(KEY) || "system"; } catch { return "system"; }
  };
  const apply = (choice) => {
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  };
  apply(read());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const show = (choice) => {
      button.setAttribute("aria-label", `Theme: ${WORDS[choice]}`);
      button.title = `Theme: ${WORDS[choice]}`;
    };
    show(read());
    button.addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(read()) + 1) % ORDER.length];
      try { localStorage.setItem(KEY, next); } catch { /* private mode: the choice lasts as long as the page */ }
      apply(next);
      show(next);
      document.dispatchEvent(new CustomEvent("themechange"));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("themechange")));
  });
})();
