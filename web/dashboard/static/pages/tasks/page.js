// The list of tasks: reads a page, follows events, reads it again where events alone do not tell.
import { html } from "../../ui/lit.js";
import { withQuery } from "../../core/api.js";
import { taskEvents } from "../../core/live.js";
import { here, href, setQuery } from "../../core/location.js";
import { createReading } from "../../core/reading.js";
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
  const reading = createReading({
    page: "/tasks",
    path,
    loaded(page, isNew) {
      store.dispatch({ type: isNew ? "loaded" : "checked", page });
      if (isNew) bulk.reset();
      else if (store.peek().fresh > 0) announce(`${store.peek().fresh} new tasks`);
    },
  });
  const unsubscribe = taskEvents.subscribe({ events: (events) => store.dispatch({ type: "happened", events }), resync() {} });

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
      ${filterBar(filters(), set, reading.loader.state.failure)} ${freshBar(store.state, merge, "task")} ${bulk.view()}
      ${loaded(reading.loader, () =>
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
      unsubscribe();
      reading.dispose();
    },
  };
}
