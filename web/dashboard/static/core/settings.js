// What a person prefers, kept in this browser. Nothing here is a secret.
import { signal } from "../vendor/signals-core/signals-core.js";

/** @param {string} name @param {string} usual */
function setting(name, usual) {
  const key = `waybill-${name}`;
  let kept = null;
  try {
    kept = localStorage.getItem(key);
  } catch {
    // Storage is switched off: settings last as long as the tab.
  }
  const value = signal(kept ?? usual);
  return {
    get value() {
      return value.value;
    },
    peek: () => value.peek(),
    /** @param {string} wanted */
    set(wanted) {
      value.value = wanted;
      try {
        localStorage.setItem(key, wanted);
      } catch {
        // As above.
      }
    },
  };
}

/** `system`, `light` or `dark`. */
export const theme = setting("theme", "system");
/** `relative` or `exact`: how every time on every page is written. */
export const times = setting("times", "relative");
/** `on` or `off`: shortcuts of a single key (WCAG 2.1.4). */
export const shortcutsSetting = setting("shortcuts", "on");
/** In which language the requests of a page are shown. */
export const codeIn = setting("code-in", "curl");
/** The team that was looked at last. */
export const lastTeam = setting("team", "");
/** Ids of the teams whose list of first steps is done or put away, separated by commas. */
export const firstRunEnded = setting("first-run", "");
/** `yes` or `no`: whether it is worth asking for the session of the cookie. */
export const wasSignedIn = setting("signed-in", "no");

/** @param {string} wanted */
export function setTheme(wanted) {
  theme.set(wanted);
  const root = document.documentElement;
  if (wanted === "system") delete root.dataset.theme;
  else root.dataset.theme = wanted;
}
