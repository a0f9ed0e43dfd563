// The state of the page of keys. A new key is in it for as long as its dialog is open, and nowhere else.

/**
 * @typedef {{kind: "none"} | {kind: "create", like?: any} | {kind: "rotate", key: any} | {kind: "revoke", key: any}
 *   | {kind: "secret", key: any, stored: boolean}} KeyDialog
 */
/** @typedef {{dialog: KeyDialog, notice: string}} KeysState */
/**
 * @typedef {{type: "opened", dialog: KeyDialog} | {type: "closed"} | {type: "made", key: any} | {type: "stored", stored: boolean} | {type: "forgotten"}
 *   | {type: "revoked", key: any, ms: number}} KeysEvent
 */

/** @type {KeysState} */
export const noDialog = { dialog: { kind: "none" }, notice: "" };

/** @param {KeysState} state @param {KeysEvent} event @returns {KeysState} */
export function reduce(state, event) {
  switch (event.type) {
    case "opened":
      return { dialog: event.dialog, notice: "" };
    case "made":
      return { dialog: { kind: "secret", key: event.key, stored: false }, notice: "" };
    case "stored":
      return state.dialog.kind === "secret" ? { ...state, dialog: { ...state.dialog, stored: event.stored } } : state;
    case "forgotten":
      return state.dialog.kind === "secret" && state.dialog.stored ? { ...state, dialog: { ...state.dialog, key: { ...state.dialog.key, key: "" } } } : state;
    case "closed":
      // A key that nobody has stored is lost for good, so its dialog stays.
      return state.dialog.kind === "secret" && !state.dialog.stored ? state : noDialog;
    case "revoked":
      return { dialog: { kind: "none" }, notice: `No gateway accepts ${event.key.name} (${event.key.id}) any more: answered after ${event.ms} ms.` };
    default:
      return state;
  }
}

/** What about a key deserves a look. @param {any} key @param {number} now @returns {string[]} */
export function flags(key, now) {
  if (key.status !== "active") return [];
  const day = 86_400_000;
  const all = [];
  const last = key.lastUsedAt ? Date.parse(key.lastUsedAt) : 0;
  if (!last && now - Date.parse(key.createdAt) > day) all.push("never used");
  if (last && now - last > 90 * day) all.push("unused for 90 days");
  if (!key.expiresAt) all.push("no expiry");
  if (key.acceptedUntil) all.push("rotated");
  return all;
}
