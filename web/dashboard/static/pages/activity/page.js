// What people and credentials did in the team: filtered, live, and as a file.
import {
  activityEvents, announce, counted, createAction, createLoader, createStore, createViews, effect, failurePanel, filtersIn, get, here, html, icon, loaded, nothing,
  restore, rowShortcuts, saveFile, send, setQuery, setShortcuts, without, withQuery,
} from "../../kit.js";
import { NAMES, PAGE } from "./filters.js";
import { createProver } from "./prover.js";
import { matches, noActivity, reduce } from "./state.js";
import { filterBar, list } from "./view.js";

export function open() {
  const store = createStore(reduce, noActivity);
  const prover = createProver();
  const filters = () => filtersIn(NAMES, here().query);
  const cursor = () => here().query.get("cursor") ?? "";
  const views = createViews({ list: "activity", page: "/activity", filters });
  const path = () => withQuery("/v1/activity", { ...filters(), limit: PAGE, cursor: cursor() });
  /** @param {string} format */
  const exportPath = (format) => withQuery("/v1/activity/export", { format, ...filters() });
  const loader = createLoader((signal) => get(path(), { signal }), {
    loaded(page) {
      store.dispatch({ type: "loaded", page });
      prover.reset();
      requestAnimationFrame(restore);
    },
  });

  const unsubscribe = activityEvents.subscribe({
    events(events) {
      if (cursor()) return;
      const wanted = filters();
      store.dispatch({ type: "happened", entries: events.filter((entry) => matches(entry, wanted)) });
      const { fresh } = store.peek();
      if (fresh.length > 0) announce(counted(fresh.length, "new entry", "new entries"));
    },
    resync: loader.load,
  });

  let address = "";
  const stop = effect(() => {
    const next = path();
    if (here().path !== "/activity" || next === address) return;
    address = next;
    void loader.load();
  });

  const merge = () => store.dispatch({ type: "merged" });
  const clear = () => setQuery(without(NAMES));
  setShortcuts("This page", [{ keys: ".", what: "Show what is new", act: merge }, ...rowShortcuts]);
  /** @param {string} label @param {string} format */
  const save = (label, format) =>
    createAction({
      label,
      icon: "download",
      scope: "activity:read",
      done: "Saved",
      async act() {
        const response = await send({ method: "GET", path: exportPath(format) });
        saveFile(`activity.${format}`, await response.blob());
      },
    });
  // Another filter is another file.
  const files = () => [save("Save as CSV", "csv"), save("Save as JSON lines", "jsonl")];
  let saved = { path: "", actions: files() };
  const saves = () => {
    if (saved.path !== exportPath("")) saved = { path: exportPath(""), actions: files() };
    return saved.actions;
  };

  const proveAll = () => void prover.prove(store.peek().entries);
  const fresh = (count) => (count > 0 ? html`<p class="fresh"><button type="button" @click=${merge}>${count} new: show <kbd>.</kbd></button></p>` : nothing);

  return {
    title: "Activity",
    requests: () => [{ method: "GET", path: path() }, { method: "GET", path: exportPath("csv") }, views.request],
    actions: () => [["Prove the entries of this page", proveAll, "shield-check"]],
    view: () => html`<div class="title">
        <h1>Activity</h1>
        <button type="button" ?disabled=${prover.busy} @click=${proveAll}>${icon("shield-check")}Prove this page</button> ${saves().map((action) => action.view())}
      </div>
      ${prover.view()} ${failurePanel(prover.failure)} ${saves().map((action) => action.problem())} ${views.view()} ${filterBar(filters(), (changes) => setQuery({ cursor: "", ...changes }), loader.state.failure)} ${fresh(store.state.fresh.length)}
      ${loaded(loader, () =>
        list(store.state, {
          clear,
          older: () => setQuery({ cursor: store.peek().next ?? "" }),
          isFiltered: Object.keys(filters()).length > 0,
          cursor: cursor(),
          seal: prover.seal,
        }),
        NAMES,
      )}`,
    dispose() {
      stop();
      unsubscribe();
      loader.dispose();
      views.dispose();
    },
  };
}
