// Moving through the rows of a list by keyboard: every row has `data-row` and a link, which holds the focus.
import { announce } from "./announce.js";
import { copy } from "./copy.js";

/** @returns {HTMLElement[]} */
function links() {
  return [...document.querySelectorAll("[data-row] a.row-link")].filter((link) => link instanceof HTMLElement);
}

/** @param {number} step */
function move(step) {
  const all = links();
  const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement?.closest("[data-row]")?.querySelector("a.row-link")));
  const next = at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step));
  all[next]?.focus();
}

function copyId() {
  const row = document.activeElement?.closest("[data-row]");
  if (row instanceof HTMLElement && row.dataset.row) void copy(row.dataset.row, "Id");
  else announce("No row has the focus");
}

/** @type {import("../core/shortcuts.js").Shortcut[]} */
export const rowShortcuts = [
  { keys: "j", what: "Next row", act: () => move(1) },
  { keys: "k", what: "Row before", act: () => move(-1) },
  { keys: "y", what: "Copy the id of the row", act: copyId },
];
