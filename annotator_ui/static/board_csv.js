// The numbers behind a table or a plot as a CSV file, made in the browser from what the page shows.

const cell = (value) => {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** @param {string[]} names of the columns @param {any[][]} rows */
export const toCsv = (names, rows) => [names, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";

/** Make that link download what `make` gives at the moment of the click. @param {any} link @param {() => string} make */
export function wireCsv(link, make) {
  link.setAttribute("href", "#");
  link.addEventListener("click", () => {
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([make()], { type: "text/csv" }));
  });
}
