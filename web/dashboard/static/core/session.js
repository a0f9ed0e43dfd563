// Who is signed in. The access token is in this module's memory alone; what outlives the tab is the refresh token, in a cookie that no script reads.
import { signal } from "../vendor/signals-core/signals-core.js";
import { Failure } from "./failure.js";
import { here } from "./location.js";
import { withLock } from "./locks.js";
import { wasSignedIn } from "./settings.js";

/** @typedef {{id: string, name: string, role: "owner" | "admin" | "member" | "viewer"}} Team */
/** @typedef {{user: {id: string, email: string, name: string, needsAddress: boolean}, sessionId: string, teams: Team[], isOperator: boolean}} Me */
/** @typedef {{phase: "unknown" | "out" | "in", me: Me | null, expired: boolean, failure: Failure | null}} Session */

/** Seconds before its end at which a token is replaced. */
const EARLY = 30;

/** @type {Session} */
const nobody = { phase: "unknown", me: null, expired: false, failure: null };
const current = signal(nobody);
let token = "";
let tokenEnds = 0;
/** Refreshes that are under way, so that requests of one tab share one. @type {Promise<void> | null} */
let refreshing = null;

// Tabs tell each other when somebody signs in or out. No token goes over this channel.
const others = "BroadcastChannel" in window ? new BroadcastChannel("waybill-session") : null;
others?.addEventListener("message", ({ data }) => {
  if (data === "out") forget(false);
  else if (data === "in" && current.peek().phase === "out") void begin();
});

/** The session; a view that reads it follows it. @returns {Session} */
export function session() {
  return current.value;
}

/** Posts to an endpoint of sign-in, which takes no token. @param {string} path @param {object} body */
export async function post(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw Failure.unreachable();
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw Failure.answered(response, answer);
  return answer;
}

function take(answer) {
  token = answer.accessToken;
  tokenEnds = Date.now() + (answer.expiresIn - EARLY) * 1000;
}

/** A token that is still good for a while. @param {string} [refused] One that the API has just refused. @returns {Promise<string>} */
export async function accessToken(refused) {
  if (!token || token === refused || Date.now() > tokenEnds) {
    // One tab at a time: a refresh token is good for one use.
    refreshing ??= withLock("waybill-refresh", async () => take(await post("/v1/auth/refresh", {}))).finally(() => {
      refreshing = null;
    });
    try {
      await refreshing;
    } catch (failure) {
      if (failure instanceof Failure && failure.status === 401) forget(current.peek().phase === "in");
      throw failure;
    }
  }
  return token;
}

/** Reads who is signed in, and their teams. */
export async function readMe() {
  const response = await fetch("/v1/me", { headers: { authorization: `Bearer ${await accessToken()}` } }).catch(() => {
    throw Failure.unreachable();
  });
  const me = await response.json().catch(() => null);
  if (!response.ok) throw Failure.answered(response, me);
  wasSignedIn.set("yes");
  current.value = { phase: "in", me, expired: false, failure: null };
}

/** Where an outside issuer sends browsers back to, with a cookie that is new. */
export const SIGNED_IN = "/signed-in";

/** Takes up the session of the cookie. Whether there is one no script can see, so the settings remember it. */
export async function begin() {
  if (wasSignedIn.peek() === "no" && here().path !== SIGNED_IN) {
    current.value = { ...nobody, phase: "out" };
    return;
  }
  try {
    await readMe();
  } catch (failure) {
    const refused = failure instanceof Failure && failure.status === 401;
    current.value = refused ? { ...nobody, phase: "out" } : { ...current.peek(), failure };
  }
}

/** @param {string} email @param {string} password */
export async function signIn(email, password) {
  take(await post("/v1/auth/login", { email, password, cookie: true }));
  await readMe();
  others?.postMessage("in");
}

/** Confirms an address with the token of a letter, and is signed in. @param {{token: string, password: string, name?: string}} given */
export async function confirmAddress(given) {
  take(await post("/v1/auth/confirm", { ...given, cookie: true }));
  await readMe();
  others?.postMessage("in");
}

/** Signs in by the token of a link that the machine has printed. @param {string} given */
export async function useLink(given) {
  take(await post("/v1/auth/link", { token: given, cookie: true }));
  await readMe();
  others?.postMessage("in");
}

export async function signOut() {
  // Told first: another tab would take the stream over from this one, and be refused, before it knew that the session is over.
  others?.postMessage("out");
  const bearer = await accessToken().catch(() => "");
  if (bearer) await fetch("/v1/auth/logout", { method: "POST", headers: { authorization: `Bearer ${bearer}` } }).catch(() => null);
  forget(false);
}

/** @param {boolean} expired Whether the session ended by itself: the page stays, and sign-in goes over it. */
function forget(expired) {
  token = "";
  wasSignedIn.set("no");
  current.value = { ...nobody, phase: "out", expired };
}
