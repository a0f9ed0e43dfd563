// Numbers, lengths of time and times in words.

const NUMBERS = new Intl.NumberFormat("en");
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** @param {number} value */
export function number(value) {
  return NUMBERS.format(value);
}

/** A count with its noun. @param {number} count @param {string} noun @param {string} [plural] */
export function counted(count, noun, plural = `${noun}s`) {
  return `${number(count)} ${count === 1 ? noun : plural}`;
}

/** A length of time, to two units: `2 min 5 s`, `340 ms`. @param {number} ms */
export function length(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(Math.floor(ms / 100) / 10).toString()} s`;
  const parts = [];
  let rest = ms;
  for (const [unit, size] of UNITS) {
    const whole = Math.floor(rest / Number(size));
    if (whole > 0) parts.push(`${whole} ${unit}`);
    rest -= whole * Number(size);
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** How long ago, or until when: `3 s ago`, `in 2 min`. @param {number} at @param {number} now */
export function relative(at, now) {
  const ms = now - at;
  if (Math.abs(ms) < 1000) return "now";
  const size = UNITS.find(([, unit]) => Math.abs(ms) >= Number(unit)) ?? UNITS[3];
  const text = `${Math.floor(Math.abs(ms) / Number(size[1]))} ${size[0]}`;
  return ms > 0 ? `${text} ago` : `in ${text}`;
}

/** Local time, to the second. @param {number} at */
export function exact(at) {
  return EXACT.format(at);
}

/** Bytes for people. @param {number} bytes */
export function size(bytes) {
  if (bytes < 1024) return counted(bytes, "byte");
  const kib = bytes / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** A number where it is one; what is none is sent as it is, and the API says what is wrong with it. @param {string} text */
export function numeric(text) {
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
