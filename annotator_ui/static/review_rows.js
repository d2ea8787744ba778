// The images of a list: what the server says of them, page by page, and what this person decided since.

/**
 * @typedef {{annotation_id: number, by: string, kind: string, class_name: string|null, at: string, lead_time: number|null, is_extra_vote: boolean, is_review: boolean, is_import: boolean}} Vote
 * @typedef {object} Row
 * @property {number} id
 * @property {string} file            what it is called where it came from
 * @property {string} url
 * @property {number} width
 * @property {number} height
 * @property {string} state
 * @property {string|null} className   what is believed, or what this person just said
 * @property {number} version
 * @property {boolean} isReviewed
 * @property {string|null} goldClass
 * @property {boolean} isAsked
 * @property {{className: string, note: string}|null} example  as the guidelines show it
 * @property {number|null} round
 * @property {number|null} rank
 * @property {string|null} reason
 * @property {Vote[]} votes
 * @property {{class_name: string, chance: number}|null} opinion of the model that chose it
 * @property {number} pending          decisions that the server does not have yet
 * @property {{mine: string|null, words: string, version: number|null}|null} conflict  somebody was faster
 * @property {boolean} isDecided       in this visit
 * @property {boolean} isOpen          votes are shown although images come one by one
 */

/** @typedef {{kind: string, class_name: string, annotator: string, round: string}} Filter */

/** @param {any} fields @returns {Row} */
function rowOf(fields) {
  return {
    id: fields.sample_id, file: fields.external_id, url: fields.image_url, width: fields.width, height: fields.height, state: fields.state,
    className: fields.class_name, version: fields.label_version, isReviewed: fields.is_reviewed, goldClass: fields.gold_class,
    isAsked: fields.is_asked, round: fields.round, rank: fields.rank, reason: fields.reason, votes: fields.votes, opinion: fields.opinion,
    pending: 0, conflict: null, isDecided: false, isOpen: false, example: null,
  };
}

/** The last label of each person, as consensus counts it; a verdict is none of them. @param {Row} row @returns {Vote[]} */
export function votesOf(row) {
  const last = new Map(row.votes.filter((vote) => vote.kind === "label" && !vote.is_review).map((vote) => [vote.by, vote]));
  return [...last.values()];
}

/** [class, people] of what people said, most first; who is named first wins a tie. @param {Row} row @returns {[string, number][]} */
export function tally(row) {
  /** @type {Map<string, number>} */ const found = new Map();
  for (const vote of votesOf(row)) if (vote.class_name !== null) found.set(vote.class_name, (found.get(vote.class_name) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]);
}

/** People differ, whoever decided since. @param {Row} row */
export const isDisputed = (row) => tally(row).length > 1;

/** What `accept` says: what is believed, else what most named. @param {Row} row @returns {string|null} */
export const acceptable = (row) => row.className ?? tally(row)[0]?.[0] ?? null;

/** @param {ReturnType<import("./api.js").createApi>} api @param {string} project its path @param {(sampleId: number) => number} waiting decisions about an image that the server does not have yet */
export function createRows(api, project, waiting) {
  /** @type {Row[]} */ let rows = [];
  /** @type {Map<number, Row>} */ let byId = new Map();
  /** @type {string|null} */ let next = null;
  let facets = null;
  let turn = 0;
  let query = "";

  /** What the server says; an image may come back while decisions about it still wait. @returns {Row[]} */
  const arrived = (answer) => answer.samples.map((fields) => ({ ...rowOf(fields), pending: waiting(fields.sample_id) }));

  /** The first page of another list; false when a newer question was asked meanwhile. @param {Filter} filter */
  async function load(filter) {
    const mine = ++turn;
    query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
    const answer = await api.call("GET", `${project}/review?${query}`);
    if (mine !== turn) return false;
    const fresh = arrived(answer);
    // What still waits to be sent is believed here already, and a choice that was not stored stays until it is settled.
    const kept = new Map(rows.filter((row) => row.pending || row.conflict).map((row) => [row.id, row]));
    const ids = new Set(fresh.map((row) => row.id));
    const unsettled = [...kept.values()].filter((row) => row.conflict && !ids.has(row.id));
    rows = [...unsettled, ...fresh.map((row) => kept.get(row.id) ?? row)];
    byId = new Map(rows.map((row) => [row.id, row]));
    next = answer.next;
    facets = answer.facets;
    return true;
  }

  /** How many images each list and filter has by now; false when another list was asked for meanwhile. */
  async function recount() {
    const mine = turn;
    const answer = await api.call("GET", `${project}/review?${query}&limit=1`);
    if (mine !== turn) return false;
    facets = answer.facets;
    return true;
  }

  /** The next page; how many images it brought, or null when a newer question was asked meanwhile. */
  async function more() {
    if (next === null) return 0;
    const mine = turn;
    const answer = await api.call("GET", `${project}/review?${query}&after=${encodeURIComponent(next)}`);
    if (mine !== turn) return null;
    next = answer.next;
    const fresh = arrived(answer).filter((row) => !byId.has(row.id));
    rows = [...rows, ...fresh];
    for (const row of fresh) byId.set(row.id, row);
    return fresh.length;
  }

  return {
    load, more, recount,
    get all() { return rows; },
    get facets() { return facets; },
    get hasMore() { return next !== null; },
    /** @param {number} id @returns {Row|undefined} */
    find: (id) => byId.get(id),
  };
}
