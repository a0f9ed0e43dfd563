// How often a page may read by itself: lists that follow events must not use up what the team's plan allows its programs.

/** The least pause between two readings, in milliseconds. */
const LEAST = 1000;
/** The part of the limit that readings by themselves may take. */
const SHARE = 1 / 4;
let perMinute = Infinity;

/** @param {Response} response Every answer of the API says which limit it counts towards. */
export function noteLimit(response) {
  const limit = Number(response.headers.get("x-ratelimit-limit"));
  if (limit > 0) perMinute = limit;
}

/** Milliseconds between two readings. */
export function pace() {
  return Math.max(LEAST, 60_000 / (perMinute * SHARE));
}
