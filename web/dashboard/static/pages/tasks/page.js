// The list of tasks: reads a page, follows events, reads it again where events alone do not tell.
import { html } from "../../ui/lit.js";
import { effect } from "../../vendor/signals-core/signals-core.js";
import { get, withQuery } from "../../core/api.js";
import { taskEvents } from "../../core/live.js";
import { createLoader } from "../../core/loader.js";
import { here, href, restore, setQuery } from "../../core/location.js";
import { pace } from "../../core/pace.js";
import { setShortcuts } from "../../core/shortcuts.js";
import { createStore } from "../../core/store.js";
import { announce } from "../../ui/announce.js";
import { filtersIn, without } from "../../ui/filters.js";
import { icon } from "../../ui/icon.js";
import { rowShortcuts } from "../../ui/rows.js";
import { loaded } from "../../ui/state.js";
import { freshBar } from "../../ui/table.js";
import { createBulk } from "./bulk.js";
import { listParameters, NAMES } from "./filters.js";
import { noList, reduce } from "./state.js";
import { filterBar, list } from "./view.js";

export function open() {
  const store = createStore(reduce, noList);
  const filters = () => filtersIn(NAMES, here().query);
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery("/v1/tasks", listParameters(filters(), cursor()));
  const bulk = createBulk(() => store.peek().rows.map((row) => row.id));
  let quietly = 0;
  let timer = 0;
  let isShown = false;

  const loader = createLoader((signal) => get(path(), { signal }), {
    loaded(page) {
      store.dispatch({ type: "loaded", page });
      isShown = true;
      requestAnimationFrame(restore);
    },
  });

  /** Reads the page again and lets the rows stay where they are. */
  async function check() {
    timer = 0;
    quietly = Date.now();
    const asked = path();
    try {
      const page = await get(asked);
      if (asked !== path()) return;
      store.dispatch({ type: "checked", page });
      const { fresh } = store.peek();
      if (fresh > 0) announce(`${fresh} new tasks`);
    } catch {
      // The stream says that the server cannot be reached, and calls again when it can.
    }
  }

  function checkSoon() {
    if (!timer && isShown) timer = setTimeout(check, Math.max(0, quietly + pace() - Date.now()));
  }

  const unsubscribe = taskEvents.subscribe({
    events(events) {
      store.dispatch({ type: "happened", events });
      checkSoon();
    },
    resync: checkSoon,
  });

  // Another filter is another list.
  let address = "";
  const stop = effect(() => {
    const next = path();
    if (here().path !== "/tasks" || next === address) return;
    address = next;
    isShown = false;
    bulk.reset();
    void loader.load();
  });

  const set = (changes) => setQuery({ cursor: "", ...changes });
  const merge = () => store.dispatch({ type: "merged" });
  setShortcuts("This page", [
    { keys: ".", what: "Show what is new", act: merge },
    ...rowShortcuts,
    { keys: "x", what: "Select the row", act: () => bulk.pressFocused(false) },
    { keys: "X", what: "Select the rows up to this one", act: () => bulk.pressFocused(true) },
  ]);

  return {
    title: "Tasks",
    requests: () => [{ method: "GET", path: path() }],
    view: () => html`<div class="title">
        <h1>Tasks</h1>
        <a class="button" href=${href("/tasks/new")}>${icon("plus")}New task</a>
      </div>
      ${filterBar(filters(), set, loader.state.failure)} ${freshBar(store.state, merge, "task")} ${bulk.view()}
      ${loaded(loader, () =>
        list(store.state, {
          filters: filters(),
          cursor: cursor(),
          box: bulk.box,
          clear: () => setQuery(without(NAMES)),
          older: () => setQuery({ cursor: store.peek().pagination?.nextCursor ?? "" }),
        }),
        NAMES,
      )}`,
    dispose() {
      stop();
      unsubscribe();
      loader.dispose();
      clearTimeout(timer);
    },
  };
}
