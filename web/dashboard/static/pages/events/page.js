// The raw tail of what happens to tasks: filtered, from any place of the log, paused without losing count, gaps and all.
import {
  counted, createStore, createTail, effect, empty, Failure, failurePanel, filterForm, filtersIn, here, href, html, icon, nothing, number, repeat,
  rowShortcuts, send, setQuery, setShortcuts, signal, statusBadge, table, time, untracked, without, withQuery,
} from "../../kit.js";
import { STATUSES } from "../tasks/filters.js";
import { positionOf, startOf } from "./from.js";
import { detail, MOST, noTail, reduce, rowsOf } from "./state.js";

const TYPES = ["created", "started", "attempt_failed", "released", "succeeded", "dead", "run_requested", "priority_changed", "unblocked", "cancel_requested", "cancelled", "expired", "callback_sent", "callback_failed", "progressed", "limit_paused", "target_disabled"];
/** @type {import("../../ui/filters.js").Texts} */
const TEXTS = [
  ["from", "Begin", "now, a position, or a time"],
  ["queue", "Queues", "Separated by commas"],
  ["task", "Follow one task", "Its id"],
];
/** @type {import("../../ui/filters.js").Choices} */
const CHOICES = [
  ["type", "Event", TYPES.map((type) => `task.${type}`)],
  ["status", "Status after it", STATUSES],
];
const NAMES = [...TEXTS, ...CHOICES].map(([name]) => name);
const COLUMNS = ["Position", "At", "Event", "Task", "Queue", "Status", "What is told"];

/** The request without its position: of one task, its own stream from its creation on. @param {Record<string, string>} filters @returns {[string, Record<string, string | undefined>]} */
function streamOf({ task, type, queue, status }) {
  return task ? [`/v1/tasks/${encodeURIComponent(task.trim())}/events`, {}] : ["/v1/events", { type, queue, status }];
}

export function open() {
  const store = createStore(reduce, noTail);
  /** @type {{value: Failure | null}} */
  const failed = signal(null);
  const filters = () => filtersIn(NAMES, here().query);
  let ending = new AbortController();
  /** @type {ReturnType<typeof createTail> | null} */
  let tail = null;

  async function begin(wanted) {
    ending.abort();
    tail?.close();
    const own = new AbortController();
    ending = own;
    failed.value = null;
    store.dispatch({ type: "began" });
    const [path, query] = streamOf(wanted);
    try {
      const { position, since } = await positionOf(wanted.task ? "" : (wanted.from ?? ""), own.signal);
      if (own.signal.aborted) return;
      const connect = (after, stop) => send({ method: "GET", path: withQuery(path, { ...query, after }), signal: stop, headers: { accept: "text/event-stream" } });
      tail = createTail(position, connect, {
        came(events, at) {
          const rows = rowsOf(events).filter(({ event }) => !event || Date.parse(event.at) >= since);
          failed.value = null;
          store.dispatch({ type: "came", rows, position: at });
        },
        broke(failure, again) {
          failed.value = failure;
          store.dispatch({ type: "became", phase: again ? "waiting" : "over" });
        },
        ended: () => store.dispatch({ type: "became", phase: "over", reason: "The task has ended; no event of it follows." }),
      });
    } catch (error) {
      if (own.signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      failed.value = error;
      store.dispatch({ type: "became", phase: "over" });
    }
  }

  let address = "";
  const stop = effect(() => {
    const { path } = here();
    const wanted = filters();
    const next = JSON.stringify(wanted);
    if (path !== "/events" || next === address) return;
    address = next;
    untracked(() => void begin(wanted));
  });
  const toggle = () => store.dispatch({ type: store.peek().paused ? "resumed" : "paused" });
  setShortcuts("This page", [{ keys: ".", what: "Pause, or show what came meanwhile", act: toggle }, ...rowShortcuts]);

  const words = ({ state, position, seen }) => {
    if (state.phase === "connecting") return "Connecting.";
    const at = position ? ` Read up to position ${number(Number(position))}, ${counted(seen, "event")} since it began.` : "";
    if (state.phase === "over") return `${state.reason || "It does not go on by itself."}${at}`;
    return `${state.phase === "waiting" ? "Interrupted, and goes on where it stopped." : "Live."}${at}`;
  };

  /** @param {import("./state.js").Row} row */
  const rowView = ({ gap, event }) => {
    if (gap) {
      return html`<tr class="gap">
        <th scope="row">${number(gap.after)}</th>
        <td colspan=${COLUMNS.length - 1}><strong>Gap:</strong> the log keeps no event before position ${number(gap.firstAvailable)} any more, so what followed ${number(gap.after)} is missing here.</td>
      </tr>`;
    }
    return html`<tr data-row=${event.taskId} data-position=${event.position}>
      <th scope="row"><a class="row-link" href=${href("/events", { from: String(Number(event.position) - 1) })} title="Begin here">${event.position}</a></th>
      <td>${time(event.at)}</td>
      <td><code>${event.type}</code></td>
      <td><a href=${href(`/tasks/${event.taskId}`)}><code title=${event.taskId}>…${event.taskId.slice(-10)}</code></a> <a href=${href("/events", { task: event.taskId })} aria-label=${`Follow …${event.taskId.slice(-10)}`}>follow</a></td>
      <td>${event.queue}</td>
      <td>${event.status ? statusBadge(event.status, event.ok) : nothing}</td>
      <td class="wide">${detail(event)}</td>
    </tr>`;
  };

  return {
    title: "Events",
    requests: () => {
      const [path, query] = streamOf(filters());
      const start = startOf(filters().from ?? "");
      return [{ method: "GET", path: withQuery(path, { ...query, after: start.kind === "position" ? start.position : undefined }) }];
    },
    view: () => {
      const { rows, paused, heldCount, held } = store.state;
      const failure = failed.value;
      const isBeside = TEXTS.some(([name]) => name === failure?.field);
      return html`<div class="title">
          <h1>Events</h1>
          <button type="button" aria-pressed=${paused} @click=${toggle}>${icon(paused ? "play" : "pause")}${paused ? "Go on" : "Pause"}</button>
        </div>
        ${filterForm({ label: "Filter events", filters: filters(), set: setQuery, texts: TEXTS, choices: CHOICES, failure })}
        ${filters().task ? html`<p class="fine">Of one task all events are shown, from its creation on; the other filters do not apply.</p>` : nothing}
        ${isBeside ? nothing : failurePanel(failure)}
        <p id="tail-state">${words(store.state)}</p>
        ${paused
          ? html`<p class="fresh"><button type="button" @click=${toggle}>Paused: ${number(heldCount)} came meanwhile${heldCount > held.length ? `, the latest ${number(held.length)} are kept` : ""}: show <kbd>.</kbd></button></p>`
          : nothing}
        ${rows.length > 0
          ? html`${table("Events", COLUMNS, repeat(rows, ({ key }) => key, rowView), ", newest first")}
              ${rows.length === MOST ? html`<p class="fine">The latest ${number(MOST)} are shown. For older ones, begin at a position.</p>` : nothing}`
          : empty("No event yet", html`<p>${Object.keys(filters()).length > 0 ? html`What comes and matches appears here. <button type="button" @click=${() => setQuery(without(NAMES))}>Clear the filters</button>` : html`What happens to tasks appears here as it happens. <a href=${href("/events", { from: "0" })}>Begin with the oldest that is kept</a>`}</p>`)}`;
    },
    dispose() {
      stop();
      ending.abort();
      tail?.close();
    },
  };
}
