// What differs between two texts, line by line.

/** Lines of a text that are compared: the time grows with their product. */
const MOST = 400;

/** @typedef {["same" | "gone" | "new", string]} Line */

/**
 * The lines of both: those that only one has are marked. By the longest common subsequence, so that what was put in shifts nothing else.
 * @param {string[]} before @param {string[]} after @returns {Line[]}
 */
export function differences(before, after) {
  const [old, young] = [before.slice(0, MOST), after.slice(0, MOST)];
  /** Length of the longest common subsequence of what follows. */
  const common = Array.from({ length: old.length + 1 }, () => new Uint16Array(young.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = young.length - 1; j >= 0; j -= 1) {
      common[i][j] = old[i] === young[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  /** @type {Line[]} */
  const lines = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < young.length) {
    if (i < old.length && j < young.length && old[i] === young[j]) {
      lines.push(["same", old[i]]);
      [i, j] = [i + 1, j + 1];
    } else if (i < old.length && (j === young.length || common[i + 1][j] >= common[i][j + 1])) {
      lines.push(["gone", old[i]]);
      i += 1;
    } else {
      lines.push(["new", young[j]]);
      j += 1;
    }
  }
  return lines;
}

/** Only what differs, each with so many lines around it. @param {Line[]} lines @param {number} around @returns {(Line | null)[]} `null`: some are left out. */
export function shortened(lines, around = 2) {
  const isNear = (at) => lines.slice(Math.max(0, at - around), at + around + 1).some(([kind]) => kind !== "same");
  const kept = lines.map((line, at) => (isNear(at) ? line : null));
  return kept.filter((line, at) => line !== null || kept[at - 1] !== null);
}
