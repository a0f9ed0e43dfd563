// Checks in the browser what the notary has signed of the activity: leaves, proofs of inclusion and of consistency (RFC 9162, 2.1), and signed notes
// (C2SP). Hashes and signatures are computed by WebCrypto; nothing here asks the server.

const encoder = new TextEncoder();

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** @param {Uint8Array[]} parts */
const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", joined(parts)));
/** @param {string} text */
const ofBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
/** @param {string} text */
const ofHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
/** @param {Uint8Array} bytes */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A number as so many bytes, the highest first. @param {bigint | number} value @param {number} width */
function bigEndian(value, width) {
  const bytes = new Uint8Array(width);
  let rest = BigInt.asUintN(8 * width, BigInt(value));
  for (let at = width - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 255n);
    rest >>= 8n;
  }
  return bytes;
}

/** A part with its length before it. @param {Uint8Array} part */
const sized = (part) => joined([bigEndian(part.length, 4), part]);

/** @param {Uint8Array} bytes @param {number} at @param {number} width */
function readNumber(bytes, at, width) {
  if (at + width > bytes.length) throw new RangeError();
  return bytes.slice(at, at + width).reduce((number, byte) => number * 256 + byte, 0);
}

/** What follows a marker of MessagePack: bytes of the head, bytes of content, nested values. @param {Uint8Array} bytes @param {number} at @returns {[number, number, number]} */
function extent(bytes, at) {
  const marker = bytes[at];
  const size = (width) => readNumber(bytes, at + 1, width);
  if (marker <= 0x7f || marker >= 0xe0 || marker === 0xc0 || marker === 0xc2 || marker === 0xc3) return [1, 0, 0];
  if (marker <= 0x8f) return [1, 0, 2 * (marker & 0x0f)];
  if (marker <= 0x9f) return [1, 0, marker & 0x0f];
  if (marker <= 0xbf) return [1, marker & 0x1f, 0];
  if (marker >= 0xd4 && marker <= 0xd8) return [2, 2 ** (marker - 0xd4), 0];
  switch (marker) {
    case 0xcc: case 0xd0: return [1, 1, 0];
    case 0xcd: case 0xd1: return [1, 2, 0];
    case 0xca: case 0xce: case 0xd2: return [1, 4, 0];
    case 0xcb: case 0xcf: case 0xd3: return [1, 8, 0];
    case 0xc4: case 0xd9: return [2, size(1), 0];
    case 0xc5: case 0xda: return [3, size(2), 0];
    case 0xc6: case 0xdb: return [5, size(4), 0];
    case 0xc7: return [3, size(1), 0];
    case 0xc8: return [4, size(2), 0];
    case 0xc9: return [6, size(4), 0];
    case 0xdc: return [3, 0, size(2)];
    case 0xdd: return [5, 0, size(4)];
    case 0xde: return [3, 0, 2 * size(2)];
    case 0xdf: return [5, 0, 2 * size(4)];
    default: throw new RangeError();
  }
}

/** Where the value that begins there ends. @param {Uint8Array} bytes @param {number} from */
function endOf(bytes, from) {
  let at = from;
  for (let open = 1; open > 0; open -= 1) {
    if (at >= bytes.length) throw new RangeError();
    const [head, content, inside] = extent(bytes, at);
    at += head + content;
    open += inside;
  }
  if (at > bytes.length) throw new RangeError();
  return at;
}

/** The fields of a payload that is one map with texts as keys; `null`: it is something else. @param {Uint8Array} payload */
function fieldsOf(payload) {
  try {
    const [head, , inside] = extent(payload, 0);
    const isMap = (payload[0] >= 0x80 && payload[0] <= 0x8f) || payload[0] === 0xde || payload[0] === 0xdf;
    if (!isMap) return null;
    const fields = [];
    let at = head;
    for (let n = 0; n < inside / 2; n += 1) {
      const [keyHead] = extent(payload, at);
      const keyEnd = endOf(payload, at);
      const end = endOf(payload, keyEnd);
      const isText = (payload[at] >= 0xa0 && payload[at] <= 0xbf) || (payload[at] >= 0xd9 && payload[at] <= 0xdb);
      if (!isText) return null;
      const name = new TextDecoder("utf-8", { fatal: true }).decode(payload.slice(at + keyHead, keyEnd));
      fields.push({ name, key: payload.slice(at, keyEnd), value: payload.slice(keyEnd, end) });
      at = end;
    }
    return at === payload.length ? { head: payload.slice(0, head), fields } : null;
  } catch {
    return null;
  }
}

/** The hash of a payload that goes into its leaf; of withheld fields, the payload holds the hashes. @param {Uint8Array} payload @param {string[]} withheld */
async function commitment(payload, withheld) {
  const map = fieldsOf(payload);
  if (!map) return withheld.length === 0 ? sha256(encoder.encode("waybill payload raw v1\0"), payload) : null;
  const parts = [encoder.encode("waybill payload fields v1\0"), sized(map.head)];
  let found = 0;
  for (const { name, key, value } of map.fields) {
    parts.push(sized(key));
    if (withheld.includes(name)) {
      // 32 bytes, as MessagePack marks them.
      if (value.length !== 34 || value[0] !== 0xc4 || value[1] !== 32) return null;
      found += 1;
      parts.push(value.slice(2));
    } else {
      parts.push(await sha256(value));
    }
  }
  return found === withheld.length ? sha256(...parts) : null;
}

/**
 * The leaf of an event, computed from the event alone; `null`: it cannot be one.
 * @param {{seq: number, time: string, subject: string, headers: [string, string][], withheld?: string[], payload: string}} event @param {string} stream
 */
export async function leafOf({ seq, time, subject, headers, withheld = [], payload }, stream) {
  const committed = await commitment(ofBase64(payload), withheld);
  if (!committed) return null;
  const text = (one) => sized(encoder.encode(one));
  const number = (value) => sized(bigEndian(value, 8));
  const parts = [text("waybill leaf v1"), text("CONTROL"), number(BigInt(stream)), number(seq), number(BigInt(time)), text(subject), number(headers.length)];
  const all = [...parts, ...headers.flatMap(([name, value]) => [text(name), text(value)]), sized(committed)];
  return toHex(await sha256(bigEndian(0, 1), ...all));
}

/** @param {string} left @param {string} right In hex. */
const nodeOf = async (left, right) => toHex(await sha256(bigEndian(1, 1), ofHex(left), ofHex(right)));
const half = (number) => Math.floor(number / 2);
const isOdd = (number) => number % 2 === 1;

/** Whether a leaf is in a tree (RFC 9162, 2.1.3.2). @param {{leaf: string, index: number, size: number, path: string[], root: string}} proof */
export async function includes({ leaf, index, size, path, root }) {
  if (index >= size) return false;
  let [at, last, hash] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (last === 0) return false;
    if (isOdd(at) || at === last) {
      hash = await nodeOf(sibling, hash);
      for (; at !== 0 && !isOdd(at); at = half(at)) last = half(last);
    } else {
      hash = await nodeOf(hash, sibling);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && hash === root;
}

/** Whether a tree has only grown (RFC 9162, 2.1.4.2). @param {{from: number, to: number, fromRoot: string, toRoot: string, path: string[]}} proof */
export async function onlyGrew({ from, to, fromRoot, toRoot, path }) {
  if (from === to) return path.length === 0 && fromRoot === toRoot;
  if (from === 0 || from > to || path.length === 0) return false;
  const isWhole = Number.isInteger(Math.log2(from));
  const [first, ...rest] = isWhole ? [fromRoot, ...path] : path;
  let [at, last] = [from - 1, to - 1];
  for (; isOdd(at); at = half(at)) last = half(last);
  let [older, newer] = [first, first];
  for (const one of rest) {
    if (last === 0) return false;
    if (isOdd(at) || at === last) {
      older = await nodeOf(one, older);
      newer = await nodeOf(one, newer);
      for (; at !== 0 && !isOdd(at); at = half(at)) last = half(last);
    } else {
      newer = await nodeOf(newer, one);
    }
    [at, last] = [half(at), half(last)];
  }
  return older === fromRoot && newer === toRoot && last === 0;
}

/** What a checkpoint says; `null`: it is none. @param {string} note */
export function readCheckpoint(note) {
  const end = note.indexOf("\n\n");
  const text = note.slice(0, end + 1);
  const [origin, size, root, ...rest] = text.split("\n");
  const more = Object.fromEntries(rest.filter(Boolean).map((line) => line.split(" ")));
  const signatures = note.slice(end + 2).split("\n").filter(Boolean).map((line) => /^\u2014 (\S+) (\S+)$/.exec(line));
  if (end < 0 || !/^\d+$/.test(size) || !root || !more.stream || signatures.some((found) => !found)) return null;
  return {
    text,
    tree: origin.split("/").at(-1),
    size: Number(size),
    root: toHex(ofBase64(root)),
    stream: more.stream,
    signedAt: Number(BigInt(more.signed ?? 0) / 1_000_000n),
    signatures: signatures.map((found) => ({ name: found?.[1], bytes: ofBase64(found?.[2] ?? "") })),
  };
}

/**
 * Which of some keys, one a line, has signed a checkpoint; `""`: none; `null`: this browser cannot tell.
 * @param {NonNullable<ReturnType<typeof readCheckpoint>>} checkpoint @param {string} keys
 */
export async function signedBy({ text, signedAt, signatures }, keys) {
  for (const line of keys.split("\n").filter((one) => one && !one.startsWith("#"))) {
    const [key, from = "-", until = "-"] = line.split(" ");
    const [name, id, ...encoded] = key.split("+");
    const isInTime = (from === "-" || signedAt >= Date.parse(from)) && (until === "-" || signedAt < Date.parse(until));
    const own = signatures.find((one) => one.name === name && toHex(one.bytes.slice(0, 4)) === id);
    if (!own || !isInTime) continue;
    try {
      const imported = await crypto.subtle.importKey("raw", ofBase64(encoded.join("+")).slice(1), { name: "Ed25519" }, false, ["verify"]);
      if (await crypto.subtle.verify({ name: "Ed25519" }, imported, own.bytes.slice(4), encoder.encode(text))) return key;
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotSupportedError") return null;
      throw error;
    }
  }
  return "";
}

/** What an entry of the list and the event that was proven say differently; empty if nothing. @param {any} entry @param {any} event */
export function differs(entry, event) {
  const headers = Object.fromEntries(event.headers);
  const isSame = {
    position: entry.seq === event.seq,
    time: entry.at === event.at && Math.floor(Number(BigInt(event.time) / 1_000_000n)) === Date.parse(event.at),
    event: (headers["Wb-Event"] ?? "").replace(/\.v\d+$/, "") === entry.type,
    actor: headers["Wb-Actor"] === entry.actor,
  };
  return Object.entries(isSame).filter(([, same]) => !same).map(([name]) => name);
}
