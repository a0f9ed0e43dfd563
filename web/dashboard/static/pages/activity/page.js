// What people and credentials did in the team: filtered, live, and as a file.
import { html, nothing } from "../../ui/lit.js";
import { effect } from "../../vendor/signals-core/signals-core.js";
import { get, send, withQuery } from "../../core/api.js";
import { activityEvents } from "../../core/live.js";
import { createLoader } from "../../core/loader.js";
import { here, restore, setQuery } from "../../core/location.js";
import { setShortcuts } from "../../core/shortcuts.js";
import { createStore } from "../../core/store.js";
import { createAction } from "../../ui/action.js";
import { announce } from "../../ui/announce.js";
import { saveFile } from "../../ui/copy.js";
import { filtersIn, without } from "../../ui/filters.js";
import { rowShortcuts } from "../../ui/rows.js";
import { loaded } from "../../ui/state.js";
import { counted } from "../../ui/words.js";
import { NAMES, PAGE } from "./filters.js";
import { matches, noActivity, reduce } from "./state.js";
import { filterBar, list } from "./view.js";

export function open() {
  const store = createStore(reduce, noActivity);
  const filters = () => filtersIn(NAMES, here().query);
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery("/v1/activity", { ...filters(), limit: PAGE, cursor: cursor() });
  const exportPath = () => withQuery("/v1/activity/export", { format: "csv", ...filters() });
  const loader = createLoader((signal) => get(path(), { signal }), {
    loaded(page) {
      store.dispatch({ type: "loaded", page });
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
  const csv = () =>
    createAction({
      label: "Save as CSV",
      icon: "download",
      scope: "activity:read",
      done: "Saved",
      async act() {
        const response = await send({ method: "GET", path: exportPath() });
        saveFile("activity.csv", await response.blob());
      },
    });
  // Another filter is another file.
  let saved = { path: "", action: csv() };
  const save = () => {
    if (saved.path !== exportPath()) saved = { path: exportPath(), action: csv() };
    return saved.action;
  };

  const fresh = (count) => (count > 0 ? html`<p class="fresh"><button type="button" @click=${merge}>${count} new: show <kbd>.</kbd></button></p>` : nothing);

  return {
    title: "Activity",
    requests: () => [{ method: "GET", path: path() }, { method: "GET", path: exportPath() }],
    view: () => html`<div class="title">
        <h1>Activity</h1>
        ${save().view()}
      </div>
      ${save().problem()} ${filterBar(filters(), (changes) => setQuery({ cursor: "", ...changes }), loader.state.failure)} ${fresh(store.state.fresh.length)}
      ${loaded(loader, () =>
        list(store.state, {
          clear,
          older: () => setQuery({ cursor: store.peek().next ?? "" }),
          isFiltered: Object.keys(filters()).length > 0,
          cursor: cursor(),
        }),
        NAMES,
      )}`,
    dispose() {
      stop();
      unsubscribe();
      loader.dispose();
    },
  };
}
