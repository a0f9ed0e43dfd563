// A list that stands still: read from the API, read again after events, with the bar of what is new and the shortcuts of its rows.
import { html } from "./lit.js";
import { createReading } from "../core/reading.js";
import { setShortcuts } from "../core/shortcuts.js";
import { noRows, standsStill } from "../core/still.js";
import { createStore } from "../core/store.js";
import { rowShortcuts } from "./rows.js";
import { loaded } from "./state.js";
import { freshBar } from "./table.js";

/**
 * @param {Parameters<typeof createReading>[0] & {rowsOf: (data: any) => any[], idOf?: (row: any) => string, noun: string, plural?: string, shortcuts?: import("../core/shortcuts.js").Shortcut[]}} what
 */
export function createStillList({ rowsOf, idOf = (row) => row.id, noun, plural, shortcuts = [], loaded: told, ...what }) {
  const store = createStore(standsStill(idOf), noRows);
  const reading = createReading({
    ...what,
    loaded(data, isNew) {
      store.dispatch({ type: isNew ? "loaded" : "checked", rows: rowsOf(data), page: data });
      told?.(data, isNew);
    },
  });
  const merge = () => store.dispatch({ type: "merged" });
  setShortcuts("This page", [{ keys: ".", what: "Show what is new", act: merge }, ...rowShortcuts, ...shortcuts]);
  return {
    ...reading,
    /** @param {(rows: any[], data: any) => unknown} content @param {string[]} [beside] Fields beside which the page says what is wrong. */
    view: (content, beside) => html`${freshBar(store.state, merge, noun, plural)} ${loaded(reading.loader, () => content(store.state.rows, store.state.page), beside)}`,
  };
}
