// A table whose columns can be sorted. The address says by which; rows stay where they stand until another order, or another row, is there.
import { html, repeat } from "./lit.js";
import { here, setQuery } from "../core/location.js";
import { tableOf } from "./table.js";

/** A column: its word, and what of a row it is sorted by. @typedef {string | [string, (row: any) => string | number | null | undefined]} Column */

/** What is not known comes last, either way. @param {any[]} rows @param {(row: any) => any} value @param {boolean} isDown */
export function inOrder(rows, value, isDown) {
  const known = (row) => (value(row) ?? null) !== null && value(row) !== "";
  const compare = (one, other) => (typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true }));
  return [...rows.filter(known).sort((one, other) => (isDown ? -1 : 1) * compare(value(one), value(other))), ...rows.filter((row) => !known(row))];
}

/** @param {Column[]} columns @param {(row: any) => string} idOf @param {string} [order] How the API sorts them, in words. */
export function createSort(columns, idOf, order = ", by name") {
  let kept = { by: "", ids: [""] };
  const keyOf = (column) => column[0].toLowerCase().replaceAll(" ", "-");

  /** @param {any[]} rows @param {string} by */
  function sorted(rows, by) {
    const column = columns.find((one) => Array.isArray(one) && keyOf(one) === by.replace(/^-/, ""));
    if (!Array.isArray(column)) return rows;
    const places = new Map(kept.ids.map((id, n) => [id, n]));
    // Values that change move no row.
    if (kept.by === by && kept.ids.length === rows.length && rows.every((row) => places.has(idOf(row)))) return inOrder(rows, (row) => places.get(idOf(row)), false);
    const next = inOrder(rows, column[1], by.startsWith("-"));
    kept = { by, ids: next.map(idOf) };
    return next;
  }

  /** @param {Column} column @param {string} by */
  const header = (column, by) => {
    if (!Array.isArray(column)) return html`<th scope="col">${column}</th>`;
    const key = keyOf(column);
    const [order, sign, next] = by === key ? ["ascending", " ▲", `-${key}`] : by === `-${key}` ? ["descending", " ▼", ""] : ["none", "", key];
    return html`<th scope="col" aria-sort=${order}><button type="button" class="quiet small" @click=${() => setQuery({ sort: next }, { replace: true })}>${column[0]}<span aria-hidden="true">${sign}</span></button></th>`;
  };

  return {
    /** @param {string} label @param {any[]} rows @param {(row: any) => unknown} row */
    table(label, rows, row) {
      const by = here().query.get("sort") ?? "";
      return tableOf(label, columns.map((column) => header(column, by)), repeat(sorted(rows, by), idOf, row), by ? "" : order);
    },
  };
}
