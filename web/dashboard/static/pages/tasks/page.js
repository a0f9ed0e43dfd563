// The list of tasks: reads a page, follows events, reads it again where events alone do not tell.
import {
  announce, createBulk, createReading, createStore, createViews, filtersIn, freshBar, here, href, html, icon, loaded, rowShortcuts, setQuery, setShortcuts, taskEvents,
  without, withQuery,
} from "../../kit.js";
import { createExport } from "./export.js";
import { listParameters, NAMES } from "./filters.js";
import { noList, reduce } from "./state.js";
import { filterBar, list } from "./view.js";

export function open() {
  const store = createStore(reduce, noList);
  const filters = () => filtersIn(NAMES, here().query);
  const cursor = () => here().query.get("cursor") ?? "";
  const path = () => withQuery("/v1/tasks", listParameters(filters(), cursor()));
  const views = createViews({ list: "tasks", page: "/tasks", filters });
  const files = createExport(filters);
  const bulk = createBulk({
    ids: () => store.peek().rows.map((row) => row.id),
    noun: "task",
    scope: "tasks:write",
    page: (id) => `/tasks/${id}`,
    verbs: [
      {
        name: "Cancel",
        past: "cancelled",
        shape: "ban",
        danger: true,
        words: "Those that wait end at once; a call that runs is cut off. This cannot be taken back.",
        keep: "Keep them",
        call: (id) => ({ method: "POST", path: `/v1/tasks/${id}/cancel` }),
      },
    ],
  });
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
    ...bulk.shortcuts,
  ]);

  return {
    title: "Tasks",
    requests: () => [{ method: "GET", path: path() }, views.request],
    view: () => html`<div class="title">
        <h1>Tasks</h1>
        <a class="button" href=${href("/tasks/new")}>${icon("plus")}New task</a>
      </div>
      ${views.view()} ${filterBar(filters(), set, reading.loader.state.failure)} ${freshBar(store.state, merge, "task")} ${bulk.view()}
      ${loaded(reading.loader, () =>
        list(store.state, {
          filters: filters(),
          cursor: cursor(),
          box: bulk.box,
          files,
          clear: () => setQuery(without(NAMES)),
          older: () => setQuery({ cursor: store.peek().pagination?.nextCursor ?? "" }),
        }),
        NAMES,
      )}`,
    dispose() {
      unsubscribe();
      reading.dispose();
      views.dispose();
      files.dispose();
    },
  };
}
