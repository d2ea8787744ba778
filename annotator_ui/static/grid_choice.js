// Which images of a group are selected: the rules alone, without a page.

/** What clicks, drags and keys do to the selection. Images go by sample id. */
export function createChoice() {
  /** @type {Set<number>} */ let selected = new Set();
  /** Where a range begins: what was pressed last. @type {number|null} */ let anchor = null;

  const set = (ids, on) => { for (const id of ids) on ? selected.add(id) : selected.delete(id); };

  return {
    /** Nothing else is there any more, or these and only these are selected. @param {number[]} ids */
    start(ids) { selected = new Set(ids); anchor = null; },
    /** What left the group is selected no more. @param {number[]} ids those that are there */
    keep(ids) { selected = new Set(ids.filter((id) => selected.has(id))); },
    /** @param {number} id */
    toggle(id) { set([id], !selected.has(id)); anchor = id; },
    /** All from what was pressed last up to here become as that one is. @param {number[]} ids in order @param {number} id */
    range(ids, id) {
      const from = ids.indexOf(anchor ?? id);
      const to = ids.indexOf(id);
      if (from < 0) return this.toggle(id);
      set(ids.slice(Math.min(from, to), Math.max(from, to) + 1), anchor === null || selected.has(anchor));
      anchor ??= id;
    },
    /** What a rectangle covers: off where all of it is on, else on. @param {number[]} ids */
    sweep(ids) { if (ids.length) { set(ids, !ids.every((id) => selected.has(id))); anchor = ids[ids.length - 1]; } },
    /** All on, or all off where all are on. @param {number[]} ids */
    all(ids) { set(ids, !ids.every((id) => selected.has(id))); },
    /** @param {number} id */
    has: (id) => selected.has(id),
    get size() { return selected.size; },
  };
}

/**
 * Columns by which so many square tiles are largest in a box.
 * @param {number} count @param {number} width @param {number} height @param {number} gap
 */
export function bestColumns(count, width, height, gap) {
  const sideFor = (columns) => Math.min((width + gap) / columns, (height + gap) / Math.ceil(count / columns)) - gap;
  let best = 1;
  for (let columns = 2; columns <= count; columns += 1) if (sideFor(columns) > sideFor(best)) best = columns;
  return { columns: best, side: Math.max(24, Math.floor(sideFor(best))) };
}
