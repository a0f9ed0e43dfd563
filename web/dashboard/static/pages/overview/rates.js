// What happened in each second since the page was opened: the events of the live stream, counted.

/** Seconds that are kept. */
export const SECONDS = 60;

/** @typedef {{second: number, accepted: number, succeeded: number, failed: number}} Bucket */
/** @typedef {{buckets: Bucket[]}} Rates Oldest first, one for every second. */
/** @typedef {{type: "happened", events: any[]} | {type: "passed", at: number}} RatesEvent */

/** @type {Rates} */
export const noRates = { buckets: [] };

/** @param {number} second @returns {Bucket} */
function none(second) {
  return { second, accepted: 0, succeeded: 0, failed: 0 };
}

/** @param {Rates} state @param {RatesEvent} event @returns {Rates} */
export function reduce(state, event) {
  return event.type === "passed" ? until(state, Math.floor(event.at / 1000)) : counted(state, event.events);
}

/** Every second up to that one has its place, also those in which nothing happened. @param {Rates} state @param {number} second @returns {Rates} */
function until({ buckets }, second) {
  const last = buckets.at(-1)?.second ?? second - 1;
  if (second <= last) return { buckets };
  const from = Math.max(last + 1, second - SECONDS + 1);
  const more = Array.from({ length: second - from + 1 }, (_, n) => none(from + n));
  return { buckets: [...buckets, ...more].slice(-SECONDS) };
}

/** @param {Rates} state @param {any[]} events @returns {Rates} */
function counted(state, events) {
  const counts = new Map();
  for (const event of events) {
    const name = event.type === "task.created" ? "accepted" : event.ok === true ? "succeeded" : event.ok === false ? "failed" : "";
    if (!name) continue;
    const second = Math.floor(Date.parse(event.at) / 1000);
    const own = counts.get(second) ?? none(second);
    counts.set(second, { ...own, [name]: own[name] + 1 });
  }
  if (counts.size === 0) return state;
  const { buckets } = until(state, Math.max(...counts.keys()));
  const added = (bucket) => {
    const more = counts.get(bucket.second);
    if (!more) return bucket;
    return { second: bucket.second, accepted: bucket.accepted + more.accepted, succeeded: bucket.succeeded + more.succeeded, failed: bucket.failed + more.failed };
  };
  return { buckets: buckets.map(added) };
}

/** All of the last seconds together. @param {Rates} state @param {number} seconds */
export function sum({ buckets }, seconds) {
  const all = none(0);
  for (const bucket of buckets.slice(-seconds)) {
    all.accepted += bucket.accepted;
    all.succeeded += bucket.succeeded;
    all.failed += bucket.failed;
  }
  return all;
}
