// The review page: look through what people said, accept it or decide anew. This module only ties the others together.

import { ApiError, createApi, goToSignIn, projectPath } from "./api.js";
import { byId, count, el, isTyping, openDialog, plural, setText } from "./dom.js";
import { createFinder } from "./finder.js";
import { storedSwitch } from "./label_keys.js";
import { wireMenus } from "./menus.js";
import { openOutbox } from "./outbox.js";
import { createRecent } from "./recent.js";
import { createExamples } from "./review_example.js";
import { createFilters } from "./review_filters.js";
import { createGrid } from "./review_grid.js";
import { createReviewHelp } from "./review_help.js";
import { REVIEW_ACTIONS, createReviewKeys } from "./review_keys.js";
import { createPanel } from "./review_panel.js";
import { createRows } from "./review_rows.js";
import { createReviewSender } from "./review_sender.js";
import { createReviewStage } from "./review_stage.js";
import { createWork } from "./review_work.js";
import { emptyWords } from "./review_words.js";
import { createSignInDialog } from "./sign_in_dialog.js";

const TOAST_MS = 2600;
const LOADING_AFTER_MS = 300;
const PATIENCE_MS = 3000;
const MOVES = ["left", "right", "up", "down", "first", "last"];

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {HTMLElement} body */
async function start(body) {
  const project = body.dataset.project ?? "";
  const me = body.dataset.user ?? "";
  const path = projectPath(project);
  const classes = JSON.parse(body.dataset.classes ?? "[]").map(([name, position]) => ({ name, position, key: null }));
  const api = createApi();
  const scope = `review:${project}/${me}`;
  const positions = new Map(classes.map((info) => [info.name, info.position]));
  const keys = createReviewKeys(me, classes);
  const singleKeys = storedSwitch("al-single-keys");
  const recent = createRecent(`${project}/${me}`, classes);
  const rows = createRows(api, path, (id) => desk.sender.waiting(id));
  const desk = /** @type {any} */ ({ api, scope, me, rows, say: createToast(), drawn });
  const work = createWork(desk);
  const grid = createGrid(byId("tiles"), { position: (name) => positions.get(name) ?? -1, moved: show, opened: () => filters.see("one") });
  const stage = createReviewStage();
  const panel = desk.panel = createPanel(api, classes, { act: (id) => act(id, false), judge, keepMine: work.keepMine, takeTheirs: work.takeTheirs });
  const filters = createFilters({ changed: loadList, viewed: view });
  const finder = createFinder(classes, recent, judge);
  const help = createReviewHelp(singleKeys);
  wireMenus(api, { page: "review", beforeLeaving: () => /** @type {any} */ (Promise.race([desk.sender?.run(), pause(PATIENCE_MS)])) });
  const box = await openOutbox(scope);
  const sender = desk.sender = createReviewSender(api, box, path, { changed: drawCounts, ...work.events });
  const examples = createExamples({ api, path, rows, say: desk.say, drawn, signedOut: () => askToSignIn.open(sender.unsaved) });
  const askToSignIn = createSignInDialog(api, () => { sender.resume(); loadList(); });
  let isMore = false;
  let isDrawing = false;
  let loadProblem = "";
  let wasSaved = true;

  const isOne = () => filters.place.view === "one";

  /** Another image is current, or it looks different. */
  function show() {
    const { current } = grid;
    const place = rows.all.length ? `${count(grid.at + 1)} of ${count(rows.all.length)}${rows.hasMore ? "+" : ""}` : "";
    panel.show(current, { meant: isOne() ? [current].filter(Boolean) : grid.meant, place, isOne: isOne() });
    if (isOne()) stage.show(rows.all, grid.at);
    if (grid.at >= rows.all.length - 10) loadMore();
  }

  function drawn(row) {
    if (!row) return;
    grid.draw(row);
    if (isDrawing) return;
    // Many may change at once.
    isDrawing = true;
    queueMicrotask(() => { isDrawing = false; drawCounts(); show(); });
  }

  function drawCounts() {
    byId("saved").dataset.unsaved = String(sender?.unsaved ?? 0);
    setText(byId("unsaved"), String(sender?.unsaved ?? 0));
    const conflicts = rows.all.filter((row) => row.conflict);
    byId("conflicts").hidden = !conflicts.length;
    setText(byId("conflict-count"), String(conflicts.length));
    const words = { offline: "Offline.", server: "The server does not answer.", storage: "This browser cannot keep decisions for later. Leave the tab open until unsaved is 0." }[sender?.problem ?? ""] ?? "";
    const kept = sender?.unsaved ? ` Your ${plural(sender.unsaved, "decision")} ${sender.unsaved === 1 ? "is" : "are"} kept here and will be sent.` : "";
    byId("banner").hidden = !words && !loadProblem;
    setText(byId("banner"), words ? words + (sender.problem === "storage" ? "" : kept) : loadProblem);
    if (sender?.problem === "signed_out") askToSignIn.open(sender.unsaved);
    // Once all of it has arrived, the numbers on the tabs are others.
    const isSaved = !sender?.unsaved;
    if (isSaved && !wasSaved) recount();
    wasSaved = isSaved;
  }

  async function recount() {
    try {
      if (await rows.recount()) filters.setFacets(rows.facets);
    } catch { /* the numbers come with the next list */ }
  }

  async function loadList() {
    const slow = setTimeout(() => note("Loading", "The images are on their way."), rows.all.length ? 1e9 : LOADING_AFTER_MS);
    byId("grid-pane").setAttribute("aria-busy", "true");
    try {
      const { view: _, ...filter } = filters.place;
      if (!(await rows.load(filter))) return;
      loadProblem = "";
      filters.setFacets(rows.facets);
      grid.clear();
      drawList();
      if (rows.all.length) grid.moveTo(0, { focus: !document.activeElement || document.activeElement === document.body });
      byId("grid-pane").scrollTop = 0;
    } catch (error) {
      failed(error);
    } finally {
      clearTimeout(slow);
      byId("grid-pane").setAttribute("aria-busy", "false");
    }
    drawCounts();
  }

  function failed(error) {
    if (error instanceof ApiError && error.status === 401) return sender.unsaved ? askToSignIn.open(sender.unsaved) : goToSignIn();
    const words = error instanceof ApiError && error.status < 500 ? error.message : navigator.onLine ? "The server does not answer." : "You are offline.";
    loadProblem = rows.all.length ? `${words} What you see may be out of date.` : "";
    if (!rows.all.length) note(words, "Nothing is lost. Try again in a moment.", { label: "Try again", press: loadList });
    return drawCounts();
  }

  /** Further images; a page may be short where the filters fit few, so it goes on until there are some. */
  async function loadMore() {
    if (isMore || !rows.hasMore) return;
    isMore = true;
    byId("more").disabled = true;
    try {
      let found = await rows.more();
      while (found === 0 && rows.hasMore) found = await rows.more();
      if (found !== null) drawList();
      loadProblem = "";
    } catch (error) {
      failed(error);
    } finally {
      isMore = false;
      byId("more").disabled = false;
    }
    drawCounts();
  }

  function drawList() {
    examples.mark();
    grid.show(rows.all);
    byId("more").hidden = !rows.hasMore;
    const [title, words] = emptyWords(filters.place.kind, filters.isNarrowed);
    if (rows.all.length) byId("note").hidden = true;
    else if (rows.hasMore) { note("Looking further", "The filters fit few images; the next ones are being looked through."); loadMore(); }
    else note(title, words);
    show();
  }

  /** @param {string} title @param {string} words @param {{label: string, press: () => void}} [button] */
  function note(title, words, button) {
    if (rows.all.length) return;
    byId("note").hidden = false;
    byId("note").replaceChildren(el("h2", { text: title }), el("p", { text: words }), ...(button ? [el("button", { class: "button primary", type: "button", text: button.label, on: { click: button.press } })] : []));
  }

  /** Grid or one by one. */
  function view() {
    const one = isOne();
    byId("panes").dataset.view = one ? "one" : "grid";
    byId("grid-pane").hidden = one;
    byId("stage").hidden = !one;
    if (one) grid.clear();
    show();
    if (!one) grid.moveTo(grid.at);
  }

  /** @param {string} name */
  function judge(name) {
    recent.used(name);
    const meant = isOne() ? [grid.current].filter(Boolean) : grid.meant;
    const wasOne = isOne() || !grid.selectedCount;
    work.judge(name, /** @type {any} */ (meant));
    goOn(wasOne);
  }

  /** A decision about one image leads to the next one. @param {boolean} wasOne */
  function goOn(wasOne) {
    if (!wasOne) { grid.clear(); return; }
    if (grid.at < rows.all.length - 1) grid.moveTo(grid.at + 1, { focus: !isOne() });
    else if (isOne() && rows.all.every((row) => row.isDecided)) desk.say("That was the last one here.");
  }

  /** @param {string} id @param {boolean} isRange */
  function act(id, isRange) {
    panel.light(id);
    const { current } = grid;
    const meant = isOne() ? [current].filter(Boolean) : grid.meant;
    const isBlind = isOne() && !current?.isOpen;
    if (MOVES.includes(id)) return isOne() && (id === "up" || id === "down") ? undefined : grid.move(id, isRange && !isOne());
    const wasOne = isOne() || !grid.selectedCount;
    const does = {
      select: () => { if (!isOne()) grid.toggle(); },
      all: () => { if (!isOne()) grid.selectAll(); },
      accept() {
        if (isBlind) return desk.say("Look at the votes first (V), or choose a class.");
        work.accept(meant);
        return goOn(wasOne);
      },
      change: () => current && finder.open(),
      undo() {
        const first = work.undo();
        const at = first ? rows.all.indexOf(first) : -1;
        if (at >= 0) grid.moveTo(at, { focus: !isOne() });
      },
      put_back: () => work.aside("put_back", meant) && goOn(wasOne),
      exclude: () => work.aside("exclude", meant) && goOn(wasOne),
      ask: () => work.ask(meant),
      gold: () => (isBlind ? desk.say("Look at the votes first (V), or choose a class.") : work.gold(meant)),
      example: () => (isBlind ? desk.say("Look at the votes first (V), or choose a class.") : current && examples.open(current)),
      mine: () => current && work.keepMine(current),
      one: () => filters.see(isOne() ? "grid" : "one"),
      votes() { if (isOne() && current) { current.isOpen = !current.isOpen; show(); } },
      zoom: () => isOne() && stage.viewer.toggleZoom(),
      refresh() { examples.load(); return loadList(); },
      help: help.open,
      close() { if (isOne()) filters.see("grid"); else grid.clear(); },
    };
    return does[id]?.();
  }

  listen(keys, singleKeys, { act, judge: (position) => { const info = classes.find((item) => item.position === position); if (info) judge(info.name); } });
  byId("help-button").addEventListener("click", help.open);
  byId("one-button").addEventListener("click", () => act("one", false));
  byId("stage-back").addEventListener("click", () => act("left", false));
  byId("stage-next").addEventListener("click", () => act("right", false));
  byId("more").addEventListener("click", loadMore);
  byId("conflicts").addEventListener("click", () => grid.moveTo(rows.all.findIndex((row) => row.conflict)));
  addEventListener("online", () => { sender.resume(); if (loadProblem || !rows.all.length) loadList(); });
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) loadMore(); }, { root: byId("grid-pane"), rootMargin: "600px" }).observe(byId("more"));
  api.call("GET", `${path}/summary`).then((summary) => panel.setGuidelines(summary.guidelines ?? ""), () => {});

  body.classList.add("ready");
  filters.draw();
  await sender.load();
  drawCounts();
  // What an earlier visit could not send goes first, so that the list knows of it; a server that is slow keeps nobody.
  await Promise.race([sender.run(), pause(PATIENCE_MS)]);
  await loadList();
  view();
  examples.load();
}

/** @param {ReturnType<typeof createReviewKeys>} keys @param {{enabled: boolean}} singleKeys @param {{act: (id: string, isRange: boolean) => void, judge: (position: number) => void}} work */
function listen(keys, singleKeys, work) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (isTyping(target)) return;
    // On a button reached with Tab, Enter and Space press that button.
    if ((event.key === " " || event.key === "Enter") && target.closest("button, a, summary")) return;
    const meant = keys.meaning(event);
    if (!meant || (!singleKeys.enabled && event.key.length === 1 && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    if ("position" in meant) { if (!event.repeat) work.judge(meant.position); return; }
    if (!event.repeat || REVIEW_ACTIONS.find((action) => action.id === meant.action)?.repeats) work.act(meant.action, meant.isRange);
  });
}

function createToast() {
  const toast = byId("toast");
  let timer = 0;
  /** @param {string} text */
  return (text) => {
    setText(toast, text);
    toast.classList.add("on");
    clearTimeout(timer);
    timer = setTimeout(() => toast.classList.remove("on"), TOAST_MS);
  };
}

start(document.body);
