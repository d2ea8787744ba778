// Numbers of the last measured round that are too large for the list of rounds: classes, confusion, calibration.

/**
 * @typedef {{state: "none"|"loading"|"failed"|"here", round: number|null, metrics: any}} Detail
 *   none: no round is measured yet; failed: the numbers do not load, asking goes on; metrics: {} unless here
 */

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {string} path of the project
 * @param {() => void} changed
 */
export function createDetail(api, path, changed) {
  /** @type {{key: string, round: number, metrics: any}|null} */ let known = null;
  let hasFailed = false;
  let isFetching = false;
  const lastMeasured = (rounds) => rounds.findLast((round) => typeof round.metrics.accuracy === "number");

  return {
    /** Called after every good poll, so a call that failed is made up for by the next one. @param {any[]} rounds */
    async fetch(rounds) {
      const measured = lastMeasured(rounds);
      const key = JSON.stringify([measured?.number, measured?.metrics]);
      if (!measured || key === known?.key || isFetching) return;
      isFetching = true;
      try {
        known = { key, round: measured.number, metrics: (await api.call("GET", `${path}/rounds/${measured.number}/metrics`)).metrics };
        hasFailed = false;
      } catch {
        hasFailed = true;
      }
      isFetching = false;
      changed();
    },
    /** What is known now; older numbers stay until newer ones are here. @param {any[]} rounds @returns {Detail} */
    of(rounds) {
      if (!lastMeasured(rounds)) return { state: "none", round: null, metrics: {} };
      if (known) return { state: "here", round: known.round, metrics: known.metrics };
      return { state: hasFailed ? "failed" : "loading", round: null, metrics: {} };
    },
  };
}
