// Shortcuts of the keyboard. Those of a single key can be switched off, and none works while somebody types (WCAG 2.1.4).
import { shortcutsSetting } from "./settings.js";

/** @typedef {{keys: string, what: string, act: (event: KeyboardEvent) => void}} Shortcut `keys` is one key, or two with a space between. */

/** Longest pause between the two keys of `g t`, in milliseconds. */
const CHORD = 1200;
/** @type {Map<string, Shortcut[]>} */
const groups = new Map();
let first = "";
let firstAt = 0;

/** Names the shortcuts of a part of the page; those that it had before are gone. @param {string} group @param {Shortcut[]} shortcuts */
export function setShortcuts(group, shortcuts) {
  if (shortcuts.length === 0) groups.delete(group);
  else groups.set(group, shortcuts);
}

/** All of them, for the help. @returns {[string, Shortcut[]][]} */
export function allShortcuts() {
  return [...groups];
}

/** @param {EventTarget | null} target */
function types(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

document.addEventListener("keydown", (event) => {
  if (shortcutsSetting.peek() === "off" || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (types(event.target) || document.querySelector("dialog[open]")) return;
  const chord = first && Date.now() - firstAt < CHORD ? `${first} ${event.key}` : event.key;
  const all = [...groups.values()].flat();
  const found = all.find((shortcut) => shortcut.keys === chord);
  first = "";
  if (found) {
    event.preventDefault();
    found.act(event);
  } else if (all.some((shortcut) => shortcut.keys.startsWith(`${event.key} `))) {
    first = event.key;
    firstAt = Date.now();
  }
});
