// The labelling page: one key press labels, saves and shows the next image. This module only ties the others together.

import { ApiError, UnreachableError, createApi, goToSignIn, projectPath } from "./api.js";
import { createActionButtons, createClassButtons } from "./class_buttons.js";
import { byId, openDialog } from "./dom.js";
import { createFinder } from "./finder.js";
import { createGuide } from "./guide.js";
import { AHEAD, createHand } from "./hand.js";
import { classKeys, meaning } from "./keys.js";
import { createAsideList, createHelp, createLabelView, problemWords } from "./label_view.js";
import { wireMenus } from "./menus.js";
import { holdTab, takeOver } from "./one_tab.js";
import { newKey, nextOrder, openOutbox } from "./outbox.js";
import { createPace, paceWords } from "./pace.js";
import { createSender } from "./sender.js";
import { createSignInDialog } from "./sign_in_dialog.js";
import { createTrail, saidWords } from "./trail.js";
import { createViewer } from "./viewer.js";
import { emptyNote, plainNote } from "./why_empty.js";

const RETRY_S = 4;
const AWAY_MS = 15 * 60 * 1000;
const SIGN_OUT_PATIENCE_MS = 3000;

/** @param {HTMLElement} body */
async function start(body) {
  const project = body.dataset.project ?? "";
  const scope = `${project}/${body.dataset.user}`;
  const heartbeatMs = Number(body.dataset.heartbeatS) * 1000;
  const names = JSON.parse(body.dataset.classes ?? "[]");
  const keys = classKeys(names);
  const classes = names.map((name, position) => ({ name, position, key: keys[position] }));
  const api = createApi();
  const pace = createPace(scope);
  const viewer = createViewer(byId("stage"), byId("frame"));
  const view = createLabelView(viewer);
  const guide = createGuide(project);
  const singleKeys = storedSwitch("al-single-keys");
  const help = createHelp(singleKeys, classes.length);
  const finder = createFinder(classes, choose);
  const classButtons = createClassButtons(byId("classes"), classes, choose);
  const actionButtons = createActionButtons(byId("actions"), act);
  const trail = createTrail(byId("trail"), lookAt);
  const signIn = createSignInDialog(api, () => { sender.resume(); hand.fill(); });
  const drawAside = createAsideList(() => sender);
  /** @type {{answered: number, asked: number}|null} */ let progress = null;
  /** @type {any} */ let why = null;
  /** @type {string|null} */ let askProblem = null;
  let isOver = false;
  let retryTimer = 0;
  let lastAsked = 0;

  // The token is fetched while the rest gets ready; if that fails, the first question asks for it again.
  api.me().catch(() => {});
  const box = await openOutbox(scope);
  const sender = createSender(api, box, { changed: drawCounts, sent, refused });
  const hand = createHand(api, project, { changed: handChanged, empty: handEmpty, failed: askFailed, unsent: () => sender.unsavedAnswers });

  // -- answering -----------------------------------------------------------------------------------------------

  /** @param {string} name */
  function choose(name) {
    answer("label", name, () => classButtons.light(name));
  }

  /** @param {"label"|"skip"|"flag"} kind @param {string|null} className @param {() => void} light */
  function answer(kind, className, light) {
    if (trail.looked) return view.toast("You are looking back. Esc returns to the image in hand.");
    const item = hand.current;
    const canAnswer = item && (view.state === "image" || (view.state === "broken" && kind !== "label"));
    if (!canAnswer) return undefined;
    // Never answer an image that was not yet on the screen: a second key within the same frame waits for the next one.
    return view.afterPaint(() => {
      if (hand.current !== item) return;
      light();
      const key = newKey();
      const leadTime = pace.answered();
      const given = /** @type {import("./hand.js").Item} */ (hand.take());
      show();
      if (className) finder.used(className);
      trail.add({ key, annotationId: null, item: given, kind, className, state: "unsaved" });
      sender.add({ key, scope, order: nextOrder(), op: "answer", sampleId: given.sampleId, assignmentId: given.id, kind, className, leadTime, imageUrl: given.url, refused: null });
      if (hand.length < AHEAD / 2) ask();
      drawPace();
    });
  }

  /** @param {number} [at] which answer, 1 is the newest */
  function undo(at = Math.max(1, trail.looked)) {
    const past = trail.at(at);
    if (!past) return view.toast("There is nothing to take back.");
    trail.remove(past);
    trail.look(0);
    const item = { ...past.item };
    if (past.state === "refused" && past.key) sender.dismiss(past.key);
    else if (!past.key || !sender.cancel(past.key)) {
      item.id = null;
      sender.add({ key: newKey(), scope, order: nextOrder(), op: "undo", sampleId: item.sampleId, assignmentId: null, targetKey: past.key, annotationId: past.annotationId });
    }
    if (past.key) pace.takenBack();
    hand.putBack(item);
    view.toast(`Taken back: ${saidWords(past)}`);
    return show();
  }

  /** @param {import("./outbox.js").Entry} entry @param {any} reply */
  function sent(entry, reply) {
    if (entry.op === "answer") {
      trail.update(entry.key, { state: "saved", annotationId: reply.annotation.id });
      progress = reply.progress ?? progress;
    } else {
      if (!hand.setLease(entry.sampleId, reply.assignment) && !sender.holds(entry.sampleId)) view.toast("Taken back. That image is asked again later.");
      if (progress && reply.progress) progress = reply.progress;
      else refreshSummary();
    }
    askProblem = null;
    if (hand.length < AHEAD + 1) ask();
  }

  function refused(entry) {
    if (entry.op === "answer") trail.update(entry.key, { state: "refused" });
    else hand.setLease(entry.sampleId, null);
    view.toast(entry.op === "answer" ? "One answer was set aside; see the top of the page." : `That could not be taken back: ${entry.refused}`);
  }

  // -- showing -------------------------------------------------------------------------------------------------

  function show() {
    const past = trail.looked ? trail.at(trail.looked) : undefined;
    classButtons.setOff(Boolean(past) || view.state === "empty");
    if (past) return showPast(past);
    const item = hand.current;
    if (!item) return showNothing();
    if (item.state === "ready") {
      pace.shown(item.sampleId);
      return view.showItem(item);
    }
    if (item.state === "broken") {
      return view.showNote("broken", plainNote("This image does not load", "Skip or flag it, or try again.", { label: "Try again", press: hand.retryImages }), { sampleId: item.sampleId });
    }
    return view.showNote("loading", plainNote("Loading", "The image is on its way."), { sampleId: item.sampleId, isSlow: true });
  }

  function showNothing() {
    pace.stopped();
    const problem = sender.problem ?? askProblem;
    if (problem === "offline" || problem === "server") return view.showNote("empty", plainNote(problem === "offline" ? "You are offline" : "The server does not answer", "Nothing is lost. The next images come by themselves when the connection is back."));
    if (why && !sender.unsaved) return view.showNote("empty", emptyNote(why));
    return view.showNote("loading", plainNote("Loading", "The next images are on their way."), { isSlow: true });
  }

  /** @param {import("./trail.js").Past} past */
  function showPast(past) {
    const image = past.item.image ?? new Image();
    if (!past.item.image) Object.assign(image, { src: past.item.url, alt: `Image ${past.item.sampleId}`, onload: () => trail.at(trail.looked) === past && view.showPast(past, trail.looked, image) });
    past.item.image = image;
    return view.showPast(past, trail.looked, image);
  }

  /** @param {number} at */
  function lookAt(at) {
    if (at > trail.length) return view.toast(trail.length ? "That is the oldest answer here." : "There are no answers to look back at.");
    trail.look(Math.max(0, at));
    return show();
  }

  function drawCounts() {
    view.unsaved(sender.unsaved);
    view.progress(progress, sender.unsavedLabels);
    const problem = sender.problem ?? askProblem;
    view.banner(hand.current || trail.looked || sender.unsaved ? problemWords(problem, sender.unsavedAnswers) : "");
    if (problem === "signed_out") signIn.open(sender.unsavedAnswers);
    drawAside();
    if (!hand.current && !trail.looked) showNothing();
  }

  function drawPace() {
    const left = progress ? Math.max(0, progress.asked - progress.answered - sender.unsavedLabels) : null;
    const rate = pace.perMinute;
    view.pace(paceWords(pace, left), rate ? `${Math.round(rate)}/min` : "–/min", pace.goal ? pace.answers / pace.goal : null);
  }

  // -- asking --------------------------------------------------------------------------------------------------

  function ask() {
    if (isOver) return;
    lastAsked = performance.now();
    clearTimeout(retryTimer);
    hand.fill();
  }

  const askIn = (seconds) => { clearTimeout(retryTimer); retryTimer = setTimeout(() => !document.hidden && ask(), seconds * 1000); };

  function handChanged() {
    askProblem = null;
    if (hand.current && why) { why = null; refreshSummary(); }
    show();
    drawCounts();
  }

  function handEmpty(reason) {
    why = reason;
    show();
    askIn(reason ? Math.min(60, Math.max(0.5, reason.retry_after_s)) : 0.5);
  }

  /** @param {unknown} error */
  function askFailed(error) {
    if (error instanceof ApiError && error.status === 401) {
      askProblem = "signed_out";
    } else if (error instanceof ApiError && (error.status === 403 || error.status === 404)) {
      isOver = true;
      view.showNote("empty", plainNote("No images for you here", error.message, { label: "All projects", press: () => location.assign("/") }));
      return;
    } else if (error instanceof UnreachableError || error instanceof ApiError) {
      askProblem = navigator.onLine ? "server" : "offline";
      askIn(RETRY_S);
    } else {
      throw error;
    }
    drawCounts();
  }

  async function refreshSummary() {
    try {
      const summary = await api.call("GET", `${projectPath(project)}/summary`);
      progress = summary.progress;
      guide.fill(summary.guidelines ?? "");
      drawCounts();
      drawPace();
    } catch { /* the counts come with the next answer */ }
  }

  async function loadTrail() {
    try {
      const { annotations } = await api.call("GET", `${projectPath(project)}/annotations/mine?limit=20`);
      trail.addOlder(annotations.filter((row) => row.kind !== "undo" && !sender.holds(row.sample_id)).map((row) => ({
        key: null, annotationId: row.id, kind: row.kind, className: row.class_name, state: "saved",
        item: { id: null, sampleId: row.sample_id, url: row.image_url, width: 0, height: 0, why: "", image: null, state: "loading", tries: 0 },
      })));
    } catch { /* looking back starts with this session then */ }
  }

  // -- keys ----------------------------------------------------------------------------------------------------

  /** @param {string} id */
  function act(id) {
    const work = {
      find: () => finder.open(),
      skip: () => answer("skip", null, () => actionButtons.light("skip")),
      flag: () => answer("flag", null, () => actionButtons.light("flag")),
      undo: () => { actionButtons.light("undo"); undo(); },
      back: () => lookAt(trail.looked + 1),
      forward: () => lookAt(trail.looked - 1),
      zoom: viewer.toggleZoom, larger: viewer.larger, smaller: viewer.smaller,
      pixels: () => view.toast(viewer.togglePixels() ? "Sharp pixels" : "Smoothed"),
      guide: () => (guide.hasText ? guide.toggle() : view.toast("This project has no guidelines yet.")),
      help: () => help.open(),
      close: () => { if (!guide.close()) lookAt(0); },
    }[id];
    work?.();
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("input, textarea, select, [popover]")) return;
    // On a button reached with Tab, Enter and Space press that button; holding them down presses it once.
    if ((event.key === " " || event.key === "Enter") && target.closest("button, a")) {
      if (event.repeat) event.preventDefault();
      return;
    }
    const meant = meaning(event);
    if (!meant || (!singleKeys.enabled && event.key.length === 1 && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    const mayRepeat = "action" in meant && ["back", "forward", "larger", "smaller"].includes(meant.action);
    if (event.repeat && !mayRepeat) return;
    if ("action" in meant) return act(meant.action);
    const chosen = classes.find((info) => info.key === meant.classKey);
    return chosen && choose(chosen.name);
  });
  // A clicked button does not keep the focus, so that the next Space skips instead of pressing it again.
  document.addEventListener("mousedown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("button") && !target.closest("dialog, .menu")) event.preventDefault();
  });

  // -- coming and going ----------------------------------------------------------------------------------------

  addEventListener("online", () => { sender.resume(); hand.retryImages(); ask(); });
  addEventListener("offline", ask);
  addEventListener("pagehide", () => { if (!isOver) hand.release(); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && (!hand.current || performance.now() - lastAsked > heartbeatMs)) ask();
  });
  // Somebody who left the desk stops holding images; the first movement asks again.
  let lastActive = performance.now();
  for (const kind of ["keydown", "pointerdown", "pointermove"]) addEventListener(kind, () => {
    if (performance.now() - lastActive > AWAY_MS) ask();
    lastActive = performance.now();
  }, { passive: true });
  setInterval(() => {
    const now = performance.now();
    if (!document.hidden && now - lastAsked >= heartbeatMs && now - lastActive < AWAY_MS) ask();
  }, Math.max(1000, heartbeatMs / 2));
  wireMenus(api, { page: "label", beforeLeaving: () => Promise.race([sender.run(), new Promise((resolve) => setTimeout(resolve, SIGN_OUT_PATIENCE_MS))]) });
  wireGoal(pace, drawPace);

  body.classList.add("ready");
  show();
  drawPace();
  await holdTab(`al-label:${scope}`, {
    elsewhere: () => showOtherTab(),
    lost: () => { isOver = true; hand.clear(); sender.stop(); showOtherTab(); },
  });
  byId("tab-dialog").close();
  await sender.load();
  sender.assignmentIds.forEach(hand.markAnswered);
  drawCounts();
  // What an earlier visit could not send goes first; only then are new images asked for.
  await sender.run();
  ask();
  refreshSummary();
  loadTrail();
}

function showOtherTab() {
  const dialog = byId("tab-dialog");
  dialog.dataset.stay = "1";
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  byId("tab-take").addEventListener("click", takeOver, { once: true });
  openDialog(dialog);
}

function wireGoal(pace, changed) {
  const form = byId("goal-form");
  byId("pace").addEventListener("click", () => {
    form.elements.goal.value = pace.goal || "";
    openDialog(byId("goal-dialog"));
    form.elements.goal.select();
  });
  form.addEventListener("submit", () => {
    pace.goal = Math.max(0, Math.floor(Number(form.elements.goal.value) || 0));
    changed();
  });
}

/** A switch that stays as it was put; on by default. @param {string} name */
function storedSwitch(name) {
  let enabled = true;
  try { enabled = localStorage.getItem(name) !== "off"; } catch { /* private mode */ }
  return {
    get enabled() { return enabled; },
    set(on) {
      enabled = on;
      try { localStorage.setItem(name, on ? "on" : "off"); } catch { /* lasts as long as the page */ }
    },
  };
}

start(document.body);
