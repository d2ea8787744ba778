// The labelling page: one key press labels, saves and shows the next image. This module only ties the others together.

import { createApi } from "./api.js";
import { createActionButtons, createClassButtons } from "./class_buttons.js";
import { byId, openDialog } from "./dom.js";
import { createFinder } from "./finder.js";
import { createGuide } from "./guide.js";
import { createHand } from "./hand.js";
import { createKeyStore } from "./key_store.js";
import { createAnswers } from "./label_answers.js";
import { createAsking } from "./label_asking.js";
import { createActions, listenToKeys, storedSwitch } from "./label_keys.js";
import { createParts } from "./label_parts.js";
import { createStage, showOtherTab } from "./label_stage.js";
import { createLabelView } from "./label_view.js";
import { createLevels } from "./levels.js";
import { holdTab, takeOver } from "./one_tab.js";
import { openOutbox } from "./outbox.js";
import { createPace } from "./pace.js";
import { createRecent } from "./recent.js";
import { createSender } from "./sender.js";
import { createTrail } from "./trail.js";
import { createViewer } from "./viewer.js";

const AWAY_MS = 15 * 60 * 1000;
const SIGN_OUT_PATIENCE_MS = 3000;

/**
 * What the parts of this page share: who works on what, the parts, and what the server said last.
 * @typedef {Record<string, any> & {
 *   project: string, scope: string, classes: import("./class_buttons.js").ClassInfo[],
 *   hand: ReturnType<typeof createHand>, sender: ReturnType<typeof createSender>,
 *   progress: {answered: number, asked: number}|null, why: any, askProblem: string|null, isOver: boolean,
 * }} Desk
 */

/** @param {HTMLElement} body @returns {Desk} */
function setUp(body) {
  const project = body.dataset.project ?? "";
  const scope = `${project}/${body.dataset.user}`;
  const classes = JSON.parse(body.dataset.classes ?? "[]").map(([name, position]) => ({ name, position, key: null }));
  const api = createApi();
  const keys = createKeyStore(body.dataset.user ?? "", classes);
  const viewer = createViewer(byId("stage"), byId("frame"));
  const view = createLabelView(viewer);
  const parts = createParts(view.toast);
  const changeKeys = () => parts.use("keys", (module) => module.createKeysDialog(keys, classes), (dialog) => dialog.open());
  const singleKeys = storedSwitch("al-single-keys");
  fetchWhenTouched(parts, viewer);
  return /** @type {any} */ ({
    project, scope, classes, keys, viewer, view, parts, singleKeys, api, pace: createPace(scope), guide: createGuide(project, () => parts.use("examples", (module) => module.createExamples(api, project, byId("guide"), classes), (made) => made.load())),
    levels: createLevels(byId("frame")), recent: createRecent(scope, classes),
    openHelp: () => parts.use("help", (module) => module.createHelp(singleKeys, () => keys.map, classes, changeKeys), (help) => help.open()),
    version: body.dataset.classesVersion, progress: null, why: null, askProblem: null, isOver: false,
  });
}

/** @param {HTMLElement} body */
async function start(body) {
  const desk = setUp(body);
  const { api, scope } = desk;
  desk.trail = createTrail(byId("trail"), (at) => stage.lookAt(at));
  const stage = createStage(desk);
  const asking = createAsking(desk, stage);
  desk.ask = asking.ask;
  const answers = createAnswers(desk, stage, asking);
  desk.finder = createFinder(desk.classes, desk.recent, answers.choose);
  desk.classButtons = createClassButtons(byId("classes"), desk.classes, desk.recent.names, answers.choose);
  desk.actionButtons = createActionButtons(byId("actions"), (id) => desk.keys.map.actionKeys(id), (id) => act(id));
  desk.keys.whenChanged(() => { desk.classButtons.draw(desk.recent.names); desk.actionButtons.draw(); });
  desk.useClasses = (work) => desk.parts.use("classes", (module) => module.createClassChanges(desk), work);
  const act = createActions(desk, stage, answers);
  const signedIn = () => { desk.sender.resume(); desk.hand.fill(); };
  desk.askToSignIn = (unsaved) => desk.parts.use("signIn", (module) => module.createSignInDialog(api, signedIn), (dialog) => dialog.open(unsaved));

  // The token is fetched while the rest gets ready; if that fails, the first question asks for it again.
  api.me().catch(() => {});
  const box = await openOutbox(scope);
  const sender = desk.sender = createSender(api, box, { changed: stage.drawCounts, ...answers.events, leaseOf: (sampleId) => desk.hand.leaseOf(sampleId) });
  desk.hand = createHand(api, desk.project, { ...asking.events, classes: (version) => version === desk.version || desk.useClasses((part) => part.read(version)), unsent: () => sender.unsavedAnswers, perMinute: () => desk.pace.perMinute, left: stage.left });

  listenToKeys(desk, act, answers.choose);
  comeAndGo(desk, asking, Number(body.dataset.heartbeatS) * 1000);
  byId("help-button").addEventListener("click", desk.openHelp);
  byId("aside-button").addEventListener("click", () => desk.parts.use("aside", (module) => module.createAsideList(sender), (list) => list.open()));
  wireMenu(desk);
  byId("pace").addEventListener("click", () => desk.parts.use("goal", (module) => module.createGoal(desk.pace, stage.drawPace), (goal) => goal.open()));

  body.classList.add("ready");
  stage.show();
  stage.drawPace();
  const elsewhere = () => showOtherTab(takeOver, openDialog);
  await holdTab(`al-label:${scope}`, { elsewhere, lost: () => { desk.isOver = true; desk.hand.clear(); sender.stop(); elsewhere(); } });
  byId("tab-dialog").close();
  await sender.load();
  sender.assignmentIds.forEach(desk.hand.markAnswered);
  sender.aside.filter((entry) => entry.code).forEach(answers.events.refused);
  stage.drawCounts();
  // What an earlier visit could not send goes first; only then are new images asked for.
  await sender.run();
  asking.ask();
  asking.refreshSummary();
  asking.loadTrail();
}

/** Connection, visibility, heartbeat and leaving. @param {Desk} desk @param {ReturnType<typeof createAsking>} asking @param {number} heartbeatMs */
function comeAndGo(desk, asking, heartbeatMs) {
  addEventListener("online", () => { desk.sender.resume(); desk.hand.retryImages(); asking.ask(); });
  addEventListener("offline", asking.ask);
  addEventListener("pagehide", () => { if (!desk.isOver) desk.hand.release(); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && (!desk.hand.current || asking.silentMs > heartbeatMs)) asking.ask();
  });
  // Somebody who left the desk stops holding images; the first movement asks again.
  let lastActive = performance.now();
  for (const kind of ["keydown", "pointerdown", "pointermove"]) addEventListener(kind, () => {
    if (performance.now() - lastActive > AWAY_MS) asking.ask();
    lastActive = performance.now();
  }, { passive: true });
  setInterval(() => {
    if (!document.hidden && asking.silentMs >= heartbeatMs && performance.now() - lastActive < AWAY_MS) asking.ask();
  }, Math.max(1000, heartbeatMs / 2));
}

/** The image answers to hands once a hand is there. @param {ReturnType<typeof createParts>} parts @param {ReturnType<typeof createViewer>} viewer */
function fetchWhenTouched(parts, viewer) {
  const stage = byId("stage");
  const kinds = ["pointermove", "pointerdown", "wheel"];
  let isAsked = false;
  const fetch = async () => {
    if (isAsked) return;
    isAsked = true;
    const module = await parts.load("gestures");
    isAsked = module !== null;
    if (!module) return;
    for (const kind of kinds) stage.removeEventListener(kind, fetch);
    module.wireGestures(stage, viewer);
  };
  for (const kind of kinds) stage.addEventListener(kind, fetch, { passive: true });
}

/** The menu of projects comes with the first press of its button. @param {Desk} desk */
function wireMenu(desk) {
  const beforeLeaving = () => Promise.race([desk.sender.run(), new Promise((resolve) => setTimeout(resolve, SIGN_OUT_PATIENCE_MS))]);
  const button = byId("switch");
  button.addEventListener("click", function first() {
    desk.parts.use("menus", (module) => module.wireMenus(desk.api, { page: "label", beforeLeaving }) ?? true, () => { button.removeEventListener("click", first); button.click(); });
  });
}

start(document.body);
