// Proves the entries of the page in the browser: asks for a checkpoint of now and a proof for each entry, checks them, and remembers the checkpoint, so
// that the next one has to go on from it.
import { currentTeam, Failure, get, html, icon, length, nothing, number, send, signal } from "../../kit.js";
import { differs, includes, leafOf, onlyGrew, readCheckpoint, signedBy } from "./proof.js";

const CHECKPOINT = "/v1/activity/checkpoint";
const KEYS = "/.well-known/waybill-audit-keys";

/** What this browser has seen of a team's activity. @typedef {{size: number, root: string, stream: string, keys: string, at: number}} Seen */

/** @param {string} team */
const place = (team) => `waybill-seal-${team}`;

/** @param {string} team @returns {Seen | null} */
function seenOf(team) {
  try {
    return JSON.parse(localStorage.getItem(place(team)) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} team @param {Seen} seen */
function remember(team, seen) {
  try {
    localStorage.setItem(place(team), JSON.stringify(seen));
  } catch {
    // Storage is switched off: the next checkpoint is the first one again.
  }
}

/** @param {string} path */
const textOf = async (path) => (await send({ method: "GET", path })).text();

/** What is wrong with a checkpoint, given what was seen before; `""`: it goes on from it. @param {any} checkpoint @param {Seen} seen */
async function since(checkpoint, seen) {
  if (checkpoint.stream !== seen.stream) return "The log is another one than before: it was made anew, or restored.";
  if (checkpoint.size < seen.size) return `It has ${number(seen.size - checkpoint.size)} entries fewer than this browser has seen: it was rolled back.`;
  const proof = await get(`/v1/activity/consistency?from=${seen.size}&to=${checkpoint.size}`);
  const given = { ...proof, from: seen.size, to: checkpoint.size, fromRoot: seen.root, toRoot: checkpoint.root };
  return (await onlyGrew(given)) ? "" : "What this browser has seen before is not part of it any more: the history was changed.";
}

/** Whether an entry is in the tree of the team: those of tasks are in none, and those of people in that of the installation. @param {any} entry */
const isOfTeam = ({ stream, type }) => stream === "control" && !/^(user|session)\./.test(type);

export function createProver() {
  /** What came of each entry, by its position; `""`: proven. @type {{value: Map<number, string>}} */
  const verdicts = signal(new Map());
  /** @type {{value: {busy?: boolean, wrong?: string, words?: string} | null, peek(): any}} */
  const outcome = signal(null);
  /** @type {{value: Failure | null}} */
  const failed = signal(null);

  /** @param {any} entry @param {any} checkpoint */
  async function judge(entry, checkpoint) {
    const proof = await get(`/v1/activity/${entry.seq}/proof?size=${checkpoint.size}`).catch((failure) => {
      if (failure.status !== 404) throw failure;
    });
    if (!proof) return "the log has no such event of this team";
    const leaf = await leafOf(proof.event, checkpoint.stream);
    if (!leaf || leaf !== proof.leaf) return "its bytes do not have the hash that was proven";
    const other = differs(entry, proof.event);
    if (other.length > 0) return `${other.join(", ")} differ from what was proven`;
    return (await includes({ ...proof, leaf, size: checkpoint.size, root: checkpoint.root })) ? "" : "it is not in the tree that was signed";
  }

  /** @param {any[]} entries Of the page. */
  async function prove(entries) {
    if (outcome.peek()?.busy) return;
    const team = currentTeam()?.id ?? "";
    const own = entries.filter(isOfTeam);
    outcome.value = { busy: true };
    failed.value = null;
    verdicts.value = new Map();
    try {
      if (!globalThis.crypto?.subtle) throw new Failure({ status: 0, code: "not_secure", message: "Browsers compute hashes on secure pages only (https, or this machine). Use the command below" });
      const [note, keys] = await Promise.all([textOf(CHECKPOINT), textOf(KEYS)]);
      const checkpoint = readCheckpoint(note);
      if (!checkpoint || checkpoint.tree !== team) return void (outcome.value = { wrong: "What the server calls a checkpoint is none of this team." });
      const seen = seenOf(team);
      const key = await signedBy(checkpoint, seen?.keys || keys);
      if (key === "") {
        const renewed = seen ? await signedBy(checkpoint, keys) : "";
        return void (outcome.value = { wrong: renewed ? "It is signed by another key than this browser has seen before. If the operator has renewed it, forget the old one." : "Its signature is not valid." });
      }
      const broken = seen ? await since(checkpoint, seen) : "";
      if (broken) return void (outcome.value = { wrong: broken });
      let wrong = 0;
      for (const entry of own) {
        const verdict = await judge(entry, checkpoint);
        wrong += verdict === "" ? 0 : 1;
        verdicts.value = new Map(verdicts.value).set(entry.seq, verdict);
      }
      if (wrong > 0) return void (outcome.value = { wrong: `${number(wrong)} of ${number(own.length)} entries are not what was signed.` });
      remember(team, { size: checkpoint.size, root: checkpoint.root, stream: checkpoint.stream, keys: seen?.keys || keys, at: Date.now() });
      const signature = key ? "signed by the notary" : "whose signature this browser cannot check (it knows no Ed25519)";
      const grown = seen
        ? ` Nothing of the ${number(seen.size)} that this browser saw ${length(Math.max(1000, Date.now() - seen.at))} ago was changed.`
        : " This browser has seen none before: from now on each one has to go on from the last.";
      outcome.value = { words: `${number(own.length)} entries are proven by the checkpoint of ${number(checkpoint.size)}, ${signature}.${grown}` };
    } catch (error) {
      outcome.value = null;
      if (!(error instanceof Failure)) throw error;
      failed.value = error;
    }
  }
  const forget = () => {
    localStorage.removeItem(place(currentTeam()?.id ?? ""));
    outcome.value = null;
  };

  return {
    prove,
    get failure() {
      return failed.value;
    },
    get busy() {
      return outcome.value?.busy === true;
    },
    /** Another page of the list. */
    reset() {
      verdicts.value = new Map();
      outcome.value = null;
    },
    /** What is known of an entry. @param {any} entry */
    seal(entry) {
      if (!isOfTeam(entry)) return html`<span class="fine">${entry.stream === "control" ? "of a person" : "of a task"}</span>`;
      const verdict = verdicts.value.get(entry.seq);
      if (verdict === undefined) return html`<span class="fine">not checked</span>`;
      return verdict === "" ? html`<span class="status good">${icon("shield-check")}proven</span>` : html`<strong class="flag">not proven: ${verdict}</strong>`;
    },
    view() {
      const { busy, wrong, words } = outcome.value ?? {};
      const text = busy ? `Checking, ${number(verdicts.value.size)} so far` : words;
      return html`${text ? html`<p class="notice" role="status">${text}</p>` : nothing}
        ${wrong ? html`<div class="failure"><p role="alert"><strong>${wrong}</strong></p><p><button type="button" @click=${forget}>Forget what this browser has seen</button></p></div>` : nothing}
        <details>
          <summary>For auditors</summary>
          <p>What happens to the team, its keys and its settings is in a tree that a notary signs. The browser asks for a checkpoint, computes the leaf of each entry from its bytes, follows its proof to the root that was signed, and checks that the root goes on from the one that it saw last. Of what the list shows, it compares position, time, event and actor. What it trusts is this page, so an auditor does the same elsewhere:</p>
          <pre tabindex="0" aria-label="Commands for auditors"><code>waybill audit keys &gt; keys
waybill audit checkpoint &gt; checkpoint
waybill audit verify --keys keys --checkpoint checkpoint
waybill audit verify activity.jsonl --keys keys</code></pre>
          <p class="fine">The last one checks what <em>Save as JSON lines</em> has saved, where no filter was set.</p>
        </details>`;
    },
  };
}
