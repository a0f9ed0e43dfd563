// What the gateway that answers can serve now, how full the log is, and, for operators, which processes there are and who owns which partition.
import { badge, createReading, Failure, get, html, loaded, nothing, number, session, SHAPES, size, table, time } from "../../kit.js";

const PATH = "/readyz?verbose";
const ALL = "/v1/system";
/** How often it is asked, in milliseconds: no event tells of a change. */
const OFTEN = 5000;

/** What is served, in words. @type {[string, string][]} */
const KINDS = [
  ["reads", "Reading tasks, lists and statistics"],
  ["creations", "Accepting tasks"],
  ["revocations", "Taking rights away: revoking, removing, signing out"],
];

/** How a partition is, in words. @type {Record<string, [string, string, string]>} */
const STATES = {
  serving: ["serving", SHAPES.done, "good"],
  taking_over: ["taking over", SHAPES.rests, "warn"],
  left: ["left", SHAPES.off, "bad"],
  unknown: ["unknown", SHAPES.off, "bad"],
};

const isOperator = () => session().me?.isOperator;

/** Answers also when it is not ready, and then says why. @param {AbortSignal} signal */
async function read(signal) {
  const all = isOperator() ? get(ALL, { signal }) : null;
  const response = await fetch(PATH, { signal }).catch((error) => {
    if (signal.aborted) throw error;
    throw Failure.unreachable();
  });
  const answer = await response.json().catch(() => null);
  if (!answer?.status) throw Failure.answered(response, answer);
  return { ...answer, ...(await all) };
}

export function open() {
  const reading = createReading({ page: "/system", path: () => PATH, feeds: [], read, loaded: () => reading.soon(Date.now() + OFTEN) });
  const look = (isReady) => badge(isReady ? ["ready", SHAPES.done, "good"] : ["not served", SHAPES.off, "bad"]);
  const cells = (all) => all.map((one) => html`<td>${one ?? nothing}</td>`);
  const behind = (lag) => (lag === null ? nothing : number(lag));

  /** @param {{usedBytes: number, limitBytes: number, owedBytes: number, highWaterBytes: number}} log */
  const room = ({ usedBytes, limitBytes, owedBytes, highWaterBytes }) => html`<h2>The log of tasks</h2>
    <p><meter aria-label="Room in the log that is used" min="0" max=${limitBytes} high=${highWaterBytes} optimum="0" value=${usedBytes + owedBytes}></meter></p>
    <dl class="terms">
      <div><dt>Used</dt><dd>${size(usedBytes)} of ${size(limitBytes)}</dd></div>
      <div><dt>For open tasks to end</dt><dd>${size(owedBytes)}</dd></div>
      <div><dt>Tasks are accepted</dt><dd>while both together are under ${size(highWaterBytes)}</dd></div>
    </dl>`;

  /** @param {{id: string, disk: {freeBytes: number, totalBytes: number}}} one */
  const disk = ({ id, disk: { freeBytes, totalBytes } }) =>
    html`<meter aria-label=${`Disk of ${id} that is used`} min="0" max=${totalBytes} high=${totalBytes * 0.9} optimum="0" value=${totalBytes - freeBytes}></meter> ${size(freeBytes)} of ${size(totalBytes)}`;
  /** @param {any} system */
  const parts = ({ version, versionSkew, natsVersion, natsServer, storage, roles, partitions, streams }) => html`<h2>Processes</h2>
    <p>Version ${version}, on nats-server ${natsVersion}${natsServer ? html` (<code>${natsServer}</code>)` : nothing}.${versionSkew ? " Processes of several versions run: finish the upgrade." : ""}</p>
    ${table(
      "Processes",
      ["Role", "Id", "Version", "Since", "CONTROL behind by", "TASKS behind by", "Partitions", "Disk free"],
      roles.map((one) => html`<tr><th scope="row">${one.role}</th>${cells([html`<code>${one.id}</code>`, one.version, time(one.since), behind(one.controlLag), behind(one.tasksLag), one.partitions, one.disk && disk(one)])}</tr>`),
    )}
    <h2>Partitions</h2>
    ${table(
      "Partitions",
      ["Partition", "State", "Owner", "Fence", "Fenced", "Open tasks", "Behind by"],
      partitions.map((one) => html`<tr><th scope="row">${one.partition}</th>${cells([html`${badge(STATES[one.state])} ${one.reason}`, html`<code>${one.owner}</code>`, one.fence && number(one.fence), one.fencedAt && time(one.fencedAt), one.open === null ? null : number(one.open), behind(one.lag)])}</tr>`),
    )}
    <h2>Streams</h2>
    ${storage
      ? html`<p>${storage.limitBytes
            ? html`<meter aria-label="Storage of the server that is used" min="0" max=${storage.limitBytes} high=${storage.limitBytes * 0.9} optimum="0" value=${storage.bytes}></meter> `
            : nothing}The server stores ${size(storage.bytes)}${storage.limitBytes ? ` of ${size(storage.limitBytes)}` : ", without a limit of its own"}.</p>`
      : nothing}
    ${table(
      "Streams",
      ["Stream", "Stored", "Limit", "Messages", "Positions"],
      streams.map((one) => html`<tr><th scope="row">${one.name}</th>${cells([size(one.bytes), one.limitBytes ? size(one.limitBytes) : "none", one.messages && number(one.messages), one.last && `${number(one.first)} to ${number(one.last)}`])}</tr>`),
    )}`;

  return {
    title: "System",
    requests: () => [PATH, ...(isOperator() ? [ALL] : [])].map((path) => ({ method: "GET", path })),
    view: () => html`<h1>System</h1>
      ${loaded(reading.loader, (serving) => html`<p class="sentence">${serving.status === "ready" ? "All of it is served." : `It is ${serving.status.replaceAll("_", " ")}.`}</p>
        ${table(
          "What this gateway serves",
          ["Requests", "State", "Code", "Why not"],
          KINDS.filter(([name]) => serving[name]).map(
            ([name, words]) => html`<tr>
              <th scope="row">${words}</th>
              ${cells([look(serving[name].ready), serving[name].code && html`<code>${serving[name].code}</code>`])}
              <td class="wide">${serving[name].reason ?? nothing}</td>
            </tr>`,
          ),
        )}
        ${serving.problems?.length > 0 ? html`<h2>Problems</h2><ul>${serving.problems.map(({ code, reason }) => html`<li><code>${code}</code>: ${reason}</li>`)}</ul>` : nothing}
        ${serving.log ? room(serving.log) : nothing}
        ${serving.system ? parts(serving.system) : html`<p class="fine">Processes, partitions and streams are for operators: admins and owners of the installation's first team.</p>`}`)}`,
    dispose: reading.dispose,
  };
}
