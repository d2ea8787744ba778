// Whether a model has learned from this project's labels yet. Before that nothing is kept back from anybody.

import { projectPath } from "./api.js";

const LOOKED_AT = 5; // rounds: newer ones than that which people work on are few

/** @param {import("./label.js").Desk} desk @returns {Promise<boolean>} */
export async function hasModel(desk) {
  const { rounds } = await desk.api.call("GET", `${projectPath(desk.project)}/rounds?limit=${LOOKED_AT}`);
  return rounds.some((round) => round.model_hash);
}
