"""The page's style sheet, in the page itself so that one file is all there is. Strategies' colours are in the page.

FRAME is the ground that a page of its own needs; PARTS stand on any page that has the same names of colours and sizes,
as the pages of the service have, also nested in one selector.
"""

FRAME = """
:root {
  color-scheme: light dark;
  --bg: light-dark(#f7f7f8, #141416); --surface: light-dark(#ffffff, #1d1d20); --line: light-dark(#dedee3, #303036);
  --text: light-dark(#1a1a1e, #eeeef1); --quiet: light-dark(#5a5a64, #a3a3af); --accent: light-dark(#3f56cf, #9aaaff);
  --s1: 4px; --s2: 8px; --s3: 12px; --s4: 16px; --s5: 24px; --s6: 40px; --radius: 12px;
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--bg); color: var(--text); font: 400 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, sans-serif; font-variant-numeric: tabular-nums;
}
main { width: min(1120px, 100% - 32px); margin-inline: auto; }
"""

PARTS = """
header { padding-block: var(--s6) var(--s5); }
h1 { font-size: clamp(26px, 4.2vw, 42px); line-height: 1.14; letter-spacing: -0.02em; font-weight: 650; margin: var(--s2) 0 var(--s3); max-width: 26ch; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 19px; line-height: 1.3; font-weight: 650; letter-spacing: -0.005em; margin: 0 0 var(--s1); }
h3 { font-size: 15px; font-weight: 650; margin: var(--s5) 0 var(--s2); }
p { margin: 0 0 var(--s3); max-width: 72ch; }
.eyebrow { color: var(--quiet); margin: 0; overflow-wrap: anywhere; }
.caveat { border-left: 3px solid var(--accent); padding-left: var(--s3); }
.lead { font-size: 17px; color: var(--quiet); max-width: 68ch; }
.quiet, figcaption, th small, td small { color: var(--quiet); }
section { background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); padding: var(--s5); margin-bottom: var(--s4); }
section > .quiet { margin-bottom: var(--s4); }
svg { display: block; width: 100%; height: auto; overflow: visible; font-family: inherit; }
.chart svg { display: none; }
.chart svg.wide { display: block; }
@media (max-width: 960px) { .chart svg.wide { display: none; } .chart svg.middle { display: block; } }
@media (max-width: 620px) { .chart svg.middle { display: none; } .chart svg.narrow { display: block; } section { padding: var(--s4); } header { padding-top: var(--s5); } }
.grid { stroke: var(--line); stroke-width: 1; }
.tick, .axis { fill: var(--quiet); font-size: 12px; }
.series { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.band { stroke: none; fill-opacity: 0.16; }
.dot { stroke: var(--surface); stroke-width: 1.5; }
.name { font-size: 13px; font-weight: 600; }
.saved { fill: none; stroke: var(--text); stroke-width: 1.25; }
.dropped { stroke-dasharray: 2 3; stroke-width: 1; opacity: 0.7; }
.saved-words { fill: var(--text); font-size: 12.5px; font-weight: 600; paint-order: stroke; stroke: var(--surface); stroke-width: 4px; stroke-linejoin: round; }
.after { margin: var(--s4) 0 0; }
.scroll { overflow-x: auto; margin-inline: calc(-1 * var(--s2)); padding-inline: var(--s2); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: var(--s2) var(--s3) var(--s2) 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
thead th { font-weight: 600; color: var(--quiet); font-size: 13px; white-space: nowrap; }
tbody th { font-weight: 600; }
td.number, th.number { text-align: right; padding-right: 0; padding-left: var(--s4); white-space: nowrap; }
td small { display: block; font-size: 12.5px; }
tr:last-child > * { border-bottom: 0; }
.key { display: inline-block; width: 18px; height: 0; border-top: 3px solid; vertical-align: middle; margin-right: var(--s2); }
.key.dashed { border-top-style: dashed; }
.classes { table-layout: fixed; }
.classes thead th { white-space: normal; }
.classes th:first-child { width: 20%; overflow-wrap: anywhere; }
.classes td { padding-block: 6px; vertical-align: middle; }
.classes svg { height: 18px; }
.classes .number { width: 116px; }
.classes :is(td, th):nth-child(4) { padding-left: var(--s4); }
.track { fill: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: var(--s1) var(--s5); margin: 0 0 var(--s3); color: var(--quiet); font-size: 13px; }
.legend span { display: inline-flex; align-items: center; }
.swatch { width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; flex: none; }
.swatch.tick-mark { width: 3px; height: 14px; border-radius: 0; }
.swatch.round { border-radius: 50%; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(124px, 28%), 1fr)); gap: var(--s4) var(--s3); margin: 0; padding: 0; list-style: none; }
.gallery figure { margin: 0; }
.gallery img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 8px; background: var(--bg); border: 1px solid var(--line); }
.gallery figcaption { font-size: 13px; line-height: 1.35; margin-top: 6px; overflow-wrap: anywhere; }
.gallery b { color: var(--text); font-weight: 600; }
details { margin-top: var(--s4); }
summary { cursor: pointer; color: var(--accent); font-weight: 600; width: fit-content; }
summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px; }
dl { display: grid; grid-template-columns: minmax(120px, 200px) 1fr; gap: var(--s2) var(--s5); margin: var(--s3) 0 0; font-size: 14px; }
dt { color: var(--quiet); } dd { margin: 0; min-width: 0; overflow-wrap: anywhere; max-width: 78ch; }
@media (max-width: 620px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: var(--s3); } .classes th:first-child { width: 34%; overflow-wrap: break-word; hyphens: auto; } .classes .number { display: none; } }
footer { color: var(--quiet); font-size: 13px; padding-block: var(--s3) var(--s6); }
@media print { section { break-inside: avoid; } }
"""  # noqa: E501

STYLE = FRAME + PARTS
