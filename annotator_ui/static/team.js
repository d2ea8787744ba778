// The people of a project: what each did and how fast, how well they agree, and what suggestions do to them.

import { createApi, projectPath } from "./api.js";
import { toCsv, wireCsv } from "./board_csv.js";
import { byId, count, el, percent, plural, seconds, setText } from "./dom.js";
import { wireMenus } from "./menus.js";
import { createPoll } from "./poll.js";
import { points, pullWords } from "./pull_words.js";

const EVERY_MS = 10_000;
const PAIRS_SHOWN = 12;
/** Below these a figure is worth a look: Krippendorff's limit for tentative conclusions, and nine of ten. */
const LOW_KAPPA = 0.667;
const LOW_GOLD = 0.9;
/** So many images must be behind a figure before it is marked. */
const ENOUGH = 20;

const project = document.body.dataset.project ?? "";
const path = projectPath(project);
const api = createApi();
/** What the tables show, for the files. @type {{people: any[], classes: any[]}} */
const shown = { people: [], classes: [] };
let poll = startPoll(30);

/** @param {number} days */
function startPoll(days) {
  return createPoll(api, {
    everyMs: EVERY_MS,
    paths: { team: `${path}/people?days=${days}`, agreement: `${path}/agreement`, pull: `${path}/suggestions/pull` },
    changed: draw,
    age: (age, why) => {
      byId("stale").hidden = age === null;
      if (age !== null) setText(byId("stale"), `${why} These numbers are ${seconds(age)} old.`);
    },
  });
}

const number = (...children) => el("td", { class: "number" }, ...children);
const half = (estimate) => (estimate.low === null || estimate.high === null ? "" : ` (${estimate.low.toFixed(2)} to ${estimate.high.toFixed(2)})`);

function draw({ team, agreement, pull }) {
  const figures = new Map(agreement.people.map((person) => [person.name, person]));
  shown.people = team.people.map((person) => ({ ...person, agreement: figures.get(person.name) ?? null }));
  shown.classes = agreement.classes;
  drawTiles(agreement, pull);
  drawPeople();
  drawClasses(agreement);
}

function drawTiles(agreement, pull) {
  const { krippendorff_alpha: alpha, samples } = agreement.overall;
  const gold = agreement.people.map((person) => person.gold).filter(Boolean);
  const right = gold.reduce((sum, one) => sum + one.right, 0);
  const answered = gold.reduce((sum, one) => sum + one.answered, 0);
  byId("tiles").removeAttribute("aria-busy");
  byId("tiles").replaceChildren(
    tile("Agreement", alpha.value === null ? null : alpha.value.toFixed(2), samples ? `Krippendorff's alpha${half(alpha)} on ${plural(samples, "image")} that several people answered. 1 is full agreement, 0 what guessing would give.` : "Nothing to compare yet: it needs images that several people answered (the setting overlap, or second opinions)."),
    tile("Right on gold", answered ? percent(right / answered, 0) : null, answered ? `${count(right)} of ${plural(answered, "answer")} to images whose class is known.` : "No answers to gold yet. Reviewers mark images of known class as gold; people meet them without knowing."),
    tile("Pull of suggestions", pull.difference === null ? null : points(pull.difference), pullWords(pull)),
  );
}

function tile(name, figure, words) {
  return el("div", { class: "card tile" }, el("dt", { text: name }), el("dd", { class: figure === null ? "figure none" : "figure", text: figure ?? "not known yet" }), el("dd", { text: words }));
}

function drawPeople() {
  const { people } = shown;
  const table = byId("people");
  table.hidden = byId("people-words").hidden = !people.length;
  byId("people-csv").hidden = !people.length;
  byId("people-empty").hidden = people.length > 0;
  if (!people.length) setText(byId("people-empty"), "Nobody has answered anything in this time.");
  const head = (text, title = null, isNumber = true) => el("th", { scope: "col", class: isNumber ? "number" : null, title, text });
  table.tHead.replaceChildren(el("tr", {}, head("Name", null, false), head("Labels"), head("A minute", "answers a minute of the time that images are on the screen"), head("Skipped"), head("Flagged"), head("Taken back"), head("Verdicts"), head("Agreement", "Cohen's kappa with the others, and on how many images"), head("Gold", "right answers to images whose class is known, of how many"), head("Last answer")));
  table.tBodies[0].replaceChildren(...people.map(row));
}

function row(person) {
  const { agreement } = person;
  return el("tr", {}, el("th", { scope: "row", title: `${person.name} (${person.role})`, text: person.name }),
    number(count(person.labels), person.extra_votes ? el("span", { class: "quiet", title: "answers that came after their time was over; they count as votes", text: ` ${count(person.extra_votes)} late` }) : ""),
    number(person.answers_per_minute === null ? "–" : person.answers_per_minute.toFixed(1)),
    ...["skips", "flags", "taken_back", "verdicts"].map((name) => number(person[name] ? count(person[name]) : "·")),
    number(...rated(agreement?.cohen_kappa ?? null, agreement?.samples ?? 0, LOW_KAPPA, (value) => value.toFixed(2))),
    number(...rated(agreement?.gold?.accuracy.value ?? null, agreement?.gold?.answered ?? 0, LOW_GOLD, (value) => percent(value, 0))),
    number(el("time", { datetime: person.last_at, text: ago(person.last_at) })));
}

/** A figure and what it stands on; a low one says so. */
function rated(value, size, low, words) {
  if (value === null) return ["–"];
  const isLow = size >= ENOUGH && value < low;
  return [el("span", { class: isLow ? "low" : null, text: `${isLow ? "low: " : ""}${words(value)}` }), el("span", { class: "quiet", text: ` of ${count(size)}` })];
}

function ago(time) {
  const past = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  return past < 86_400 ? `${seconds(past < 10 ? 10 : past)} ago` : plural(Math.floor(past / 86_400), "day") + " ago";
}

function drawClasses(agreement) {
  const { classes } = shown;
  byId("class-agreement").hidden = byId("classes-csv").hidden = !classes.length;
  byId("classes-empty").hidden = classes.length > 0;
  if (!classes.length) setText(byId("classes-empty"), "It needs images that several people answered.");
  byId("class-agreement").tBodies[0].replaceChildren(...classes.map((one) => el("tr", {}, el("th", { scope: "row", title: one.class_name, text: one.class_name }), number(count(one.answers)),
    number(one.repeated.value === null ? "–" : percent(one.repeated.value, 0)), number(one.agreement.krippendorff_alpha.value === null ? "–" : one.agreement.krippendorff_alpha.value.toFixed(2)))));
  const mixed = agreement.confusions.slice(0, PAIRS_SHOWN);
  byId("mixed-empty").hidden = mixed.length > 0;
  if (!mixed.length) setText(byId("mixed-empty"), classes.length ? "On every image that several people answered they gave the same class." : "It needs images that several people answered.");
  byId("mixed").replaceChildren(...mixed.map((pair) => el("li", {}, el("span", { text: `${pair.first} and ${pair.second}` }), el("span", { text: plural(pair.samples, "image") }))));
}

function peopleCsv() {
  const names = ["name", "role", "labels", "verdicts", "skips", "flags", "taken_back", "extra_votes", "answers_per_minute", "seconds_per_answer", "active_s", "first_at", "last_at", "cohen_kappa", "kappa_samples", "gold_answered", "gold_right", "told_answered", "told_agreed", "blind_answered", "blind_agreed"];
  return toCsv(names, shown.people.map((person) => [
    ...names.slice(0, 13).map((name) => person[name]), person.agreement?.cohen_kappa, person.agreement?.samples, person.agreement?.gold?.answered, person.agreement?.gold?.right,
    person.told.answered, person.told.agreed, person.kept_blind.answered, person.kept_blind.agreed,
  ]));
}

function classesCsv() {
  return toCsv(["class", "answers", "named_again", "alpha", "alpha_low", "alpha_high", "samples"], shown.classes.map(({ class_name: name, answers, repeated, agreement }) => [name, answers, repeated.value, agreement.krippendorff_alpha.value, agreement.krippendorff_alpha.low, agreement.krippendorff_alpha.high, agreement.samples]));
}

byId("days").addEventListener("change", () => {
  poll.stop();
  poll = startPoll(Number(byId("days").value));
  poll.ask();
});
wireCsv(byId("people-csv"), peopleCsv);
wireCsv(byId("classes-csv"), classesCsv);
wireMenus(api, { page: "people" });
poll.ask();
