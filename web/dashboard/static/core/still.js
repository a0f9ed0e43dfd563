// The state of a list that stands still: what is read again changes rows where they stand; which rows there are changes when somebody asks.

/** @typedef {{rows: any[], latest: any[] | null, fresh: number, page: any}} StillState `page`: the answer that was read last. */
/** @typedef {{type: "loaded" | "checked", rows: any[], page?: any} | {type: "merged"}} StillEvent */

/** @type {StillState} */
export const noRows = { rows: [], latest: null, fresh: 0, page: null };

/** @param {(row: any) => string} idOf @returns {(state: StillState, event: StillEvent) => StillState} */
export function standsStill(idOf) {
  return (state, event) => {
    if (event.type === "merged") return state.latest ? { ...state, rows: state.latest, latest: null, fresh: 0 } : state;
    if (event.type === "loaded") return { rows: event.rows, latest: null, fresh: 0, page: event.page };
    const read = new Map(event.rows.map((row) => [idOf(row), row]));
    const shown = new Set(state.rows.map(idOf));
    const fresh = event.rows.filter((row) => !shown.has(idOf(row))).length;
    const isSame = fresh === 0 && event.rows.length === state.rows.length;
    return { rows: state.rows.map((row) => read.get(idOf(row)) ?? row), latest: isSame ? null : event.rows, fresh, page: event.page };
  };
}
