// Tests of the pure functions. Runs in a page, which gives the address of the modules, and answers with what is wrong.
async (assets) => {
  const load = (path) => import(`${assets}/${path}`);
  const wrong = [];
  const equal = (name, found, wanted) => {
    const [one, other] = [found, wanted].map((value) => JSON.stringify(value));
    if (one !== other) wrong.push(`${name}: ${one} instead of ${other}`);
  };

  const { atStart, read } = await load("core/sse.js");
  {
    const first = read(atStart, ": after=0\nretry: 2000\nid: 0\n\nid: 5\nevent: task.created\nda");
    equal("a block that is not whole waits", [first.events.map((event) => event.id), first.state.id], [["0"], "0"]);
    const second = read(first.state, 'ta: {"a":1}\n\n: heartbeat\nid: 9\n\n');
    equal("the rest makes it whole", second.events, [{ id: "5", type: "task.created", data: '{"a":1}' }, { id: "9", type: "", data: "" }]);
    equal("a heartbeat moves the position", second.state.id, "9");
  }

  const tasks = await load("pages/tasks/state.js");
  {
    const row = (id, more = {}) => ({ id, status: "pending", updatedAt: "2030-01-01T00:00:01.000Z", retryCount: 0, ...more });
    const page = (...all) => ({ tasks: all, pagination: { total: all.length, totalExact: true, nextCursor: null } });
    const shown = tasks.reduce(tasks.noList, { type: "loaded", page: page(row("b"), row("a")) });
    const checked = tasks.reduce(shown, { type: "checked", page: page(row("c"), row("b", { status: "failed", updatedAt: "2030-01-01T00:00:02.000Z" }), row("a")) });
    equal("new rows wait", checked.rows.map((one) => one.id), ["b", "a"]);
    equal("rows change where they stand", checked.rows[0].status, "failed");
    equal("how many are new", checked.fresh, 1);
    equal("until they are asked for", tasks.reduce(checked, { type: "merged" }).rows.map((one) => one.id), ["c", "b", "a"]);
    const event = { type: "task.succeeded", taskId: "a", at: "2030-01-01T00:00:05.000Z", status: "completed", ok: true };
    const after = tasks.reduce(shown, { type: "happened", events: [event] });
    equal("an event changes its row", [after.rows[1].status, after.rows[1].ok, after.rows[0].status], ["completed", true, "pending"]);
    equal("events of others change nothing", tasks.reduce(shown, { type: "happened", events: [{ ...event, taskId: "z" }] }) === shown, true);
    const late = tasks.reduce(after, { type: "checked", page: page(row("b"), row("a")) });
    equal("an older reading takes nothing back", late.rows[1].status, "completed");
    const failed = tasks.after(row("a"), { type: "task.attempt_failed", attempt: 2, at: "2030-01-01T00:00:03.000Z", status: "pending", retryAt: "x" });
    equal("a failed attempt counts", [failed.retryCount, failed.retryAt], [2, "x"]);
  }

  const filters = await load("pages/tasks/filters.js");
  equal("a status is taken in", filters.toggled("failed", "pending"), "pending,failed");
  equal("and out", filters.toggled("pending,failed", "failed"), "pending");

  const { afterPress } = await load("ui/bulk.js");
  equal("a row is selected", [...afterPress(["a", "b", "c"], new Set(), "b", "", false)], ["b"]);
  equal("and not any more", [...afterPress(["a", "b", "c"], new Set(["b"]), "b", "b", false)], []);
  equal("a range goes either way", [...afterPress(["a", "b", "c"], new Set(["c"]), "a", "c", true)], ["c", "a", "b"]);
  equal("a range from nowhere is one row", [...afterPress(["a", "b"], new Set(), "b", "", true)], ["b"]);

  const { stuck, stuckWords } = await load("pages/overview/stuck.js");
  {
    const ago = (ms) => new Date(1_000_000_000_000 - ms).toISOString();
    const queues = [{ name: "a", pause: {} }, { name: "b", pause: null, oldestPendingSince: ago(70_000) }, { name: "c", pause: null, oldestPendingSince: ago(90_000) }, { name: "d", pause: null, oldestPendingSince: ago(5000) }];
    const targets = [{ host: "x", health: { state: "open" } }, { host: "y", health: { state: "closed" } }, { host: "z", health: null }];
    const found = stuck({ queues, targets, workers: [{ state: "lost", held: 0 }, { state: "lost", held: 2 }] }, 1_000_000_000_000);
    equal("what waits longest stands first", found.waiting.map(({ name }) => name), ["c", "b"]);
    equal("what is stuck, in words", stuckWords(found), "1 queue paused; nothing starts at x; 1 worker lost");
    equal("nothing is", stuckWords(stuck({ queues: [], targets: [], workers: [] }, 0)), "");
  }

  const { filtersOf, isShown } = await load("ui/views.js");
  equal("a view is its filters", filtersOf("status=failed%2Ctimeout&q=a+b"), { status: "failed,timeout", q: "a b" });
  equal("it is shown when just they are set", [isShown("a=1&b=2", { b: "2", a: "1" }), isShown("a=1", { a: "1", b: "2" })], [true, false]);

  const { inOrder } = await load("ui/sort.js");
  equal("a column is sorted", inOrder([{ n: 2 }, { n: 10 }, { n: null }, { n: 1 }], ({ n }) => n, false).map(({ n }) => n), [1, 2, 10, null]);
  equal("downwards, with what is not known last", inOrder([{ n: "b" }, {}, { n: "c2" }, { n: "c10" }], ({ n }) => n, true).map(({ n }) => n), ["c10", "c2", "b", undefined]);

  const { placed: placedTasks } = await load("pages/workflows/graph.js");
  const { remark } = await load("pages/workflows/words.js");
  {
    const step = (name, ...runAfter) => ({ name, runAfter, runAfterMode: "all", status: "pending", error: null, retry: 0 });
    const places = placedTasks([step("a"), step("b"), step("c", "a"), step("d", "b", "c")]);
    equal("a task stands to the right of all that it runs after", [...places.values()].map(({ column, row }) => [column, row]), [[0, 0], [0, 1], [1, 0], [2, 0]]);
    const statuses = new Map([["a", "completed"], ["b", "pending"]]);
    equal("what a task waits for", remark(step("z", "a", "b"), statuses), "Waits for b.");
    equal("of any, one suffices", remark({ ...step("z", "a", "b"), runAfterMode: "any" }, statuses), "");
  }

  const draft = await load("pages/composer/draft.js");
  {
    const first = draft.firstDraft("http://x");
    const typed = draft.reduce(first, { type: "typed", text: '{"targetUrl": "http://y", "later": 1}' });
    equal("the text is the state", typed.task, { targetUrl: "http://y", later: 1 });
    const set = draft.reduce(typed, { type: "set", field: "queue", value: "mail" });
    equal("the form keeps what it does not know", JSON.parse(set.text), { targetUrl: "http://y", later: 1, queue: "mail" });
    equal("an empty field is left out", draft.reduce(set, { type: "set", field: "queue", value: "" }).task, { targetUrl: "http://y", later: 1 });
    const broken = draft.reduce(set, { type: "typed", text: "{" });
    equal("broken text keeps the last task", [broken.text, broken.task.queue, broken.wrong !== ""], ["{", "mail", true]);
    equal("half-typed JSON stays a text", draft.reduce(first, { type: "body", kind: "json", text: "{" }).task.body, "{");
    equal("whole JSON is a value", draft.reduce(first, { type: "body", kind: "json", text: '{"a":[1]}' }).task.json, { a: [1] });
    equal("pauses are a name", draft.pauses("overnight"), "overnight");
    equal("or lengths", draft.pauses("10s, 5m"), ["10s", "5m"]);
  }

  {
    const task = { id: "t", targetUrl: "http://x", method: "POST", headers: { "Content-Type": "application/json" }, body: '{"a":1}', tags: [], success: null, maxRetries: 0, delayUntil: "x" };
    const before = draft.requestOf(task);
    equal("the request of a task", before, { targetUrl: "http://x", method: "POST", headers: task.headers, maxRetries: 0, json: { a: 1 } });
    equal("only what differs is sent", draft.changes(before, { ...before, queue: "mail", maxRetries: 1, method: undefined }).queue, "mail");
    equal("what is as it was is not", draft.changes(before, { ...before }), {});
  }

  const { spans, placed, WIDTH } = await load("pages/task/timeline.js");
  {
    const iso = (ms) => new Date(ms).toISOString();
    const task = {
      createdAt: iso(0), completedAt: iso(10_000), delayUntil: null, status: "completed", ok: true,
      attempts: [{ number: 1, startedAt: iso(1000), duration: 500, error: "no", statusCode: 500 }, { number: 2, startedAt: iso(9000), duration: 1000, error: null, statusCode: 200 }],
    };
    const all = spans(task, 0);
    equal("what follows what", all.map((span) => [span.kind, span.from, span.to]), [["wait", 0, 1000], ["attempt", 1000, 1500], ["pause", 1500, 9000], ["attempt", 9000, 10_000]]);
    equal("how it went", all.map((span) => span.tone), ["plain", "bad", "plain", "good"]);
    equal("all of it fits", placed(all).every(({ x, width }) => x >= 0 && x + width <= WIDTH), true);
  }

  const rates = await load("pages/overview/rates.js");
  {
    const passed = rates.reduce(rates.noRates, { type: "passed", at: 100_500 });
    const event = (type, at, more = {}) => ({ type, at: new Date(at).toISOString(), ...more });
    const counted = rates.reduce(passed, { type: "happened", events: [event("task.created", 100_100), event("task.succeeded", 102_000, { ok: true })] });
    equal("each second has its place", counted.buckets.map((bucket) => [bucket.second, bucket.accepted, bucket.succeeded]), [[100, 1, 0], [101, 0, 0], [102, 0, 1]]);
    equal("no more are kept than needed", rates.reduce(counted, { type: "passed", at: 9_000_000 }).buckets.length, rates.SECONDS);
  }

  const first = await load("pages/overview/first-run.js");
  {
    const events = [{ type: "task.attempt_failed" }, { type: "key.created", outcome: "refused" }, { type: "task.callback_sent" }];
    equal("a step ticks itself off by its event, and by no other", first.ticked({}, events), { callback: true });
    equal("a failure counts once it is retried", first.ticked({}, [{ type: "task.attempt_failed", retryAt: "x" }]), { retry: true });
    const key = { environment: "live", status: "active", access: "Full access", allowedSources: [] };
    equal("which key is restricted", [[key], [{ ...key, access: "Task Poster" }], [{ ...key, allowedSources: ["::1/128"] }], [{ ...key, environment: "test", access: "x" }]].map(first.isRestricted), [false, true, true, false]);
  }

  const { headersIn } = await load("pages/webhooks/page.js");
  equal("headers as they are pasted", headersIn("Webhook-Id:  msg_1 \nnonsense\n a : b: c"), { "webhook-id": "msg_1", a: "b: c" });

  const { points } = await load("ui/chart.js");
  equal("a line ends at the right edge, and its highest point at the top", points([0, 2], 3, 2), "300.0,160.0 600.0,0.0");

  const { causes } = await load("pages/overview/causes.js");
  equal(
    "failures of one cause are one line",
    causes([{ targetUrl: "http://a/1", error: "x\ny", completedAt: "1" }, { targetUrl: "http://a/2", error: "x", completedAt: "2" }]).map((cause) => [cause.host, cause.error, cause.count, cause.last]),
    [["a", "x", 2, "2"]],
  );

  const still = await load("core/still.js");
  {
    const reduce = still.standsStill((row) => row.id);
    const shown = reduce(still.noRows, { type: "loaded", rows: [{ id: "b" }, { id: "c" }] });
    const checked = reduce(shown, { type: "checked", rows: [{ id: "a" }, { id: "b", n: 1 }, { id: "c" }] });
    equal("what is new in a list waits", [checked.rows, checked.fresh], [[{ id: "b", n: 1 }, { id: "c" }], 1]);
    equal("until somebody asks for it", reduce(checked, { type: "merged" }).rows.map((row) => row.id), ["a", "b", "c"]);
    equal("what is gone stays until then", reduce(shown, { type: "checked", rows: [{ id: "c" }] }).rows.length, 2);
    equal("the same rows in another order wait for nobody", reduce(shown, { type: "checked", rows: [{ id: "c" }, { id: "b" }] }).latest, null);
  }

  const queues = await load("pages/queues/words.js");
  {
    const given = (concurrency, limit, per, burst) => queues.wantedLimits({ concurrency, "rate.limit": limit, "rate.per": per, "rate.burst": burst });
    equal("limits that are empty are none", given("", " ", "", ""), {});
    equal("what is half given is sent, and refused by name", given("5", "x", "", ""), { concurrency: 5, rate: { limit: "x" } });
    equal("lengths as people write them", [3600, 60, 90].map(queues.written), ["1h", "1m", "90s"]);
    equal("the pause that ends first", queues.nextEnd([{ pause: null }, { pause: { until: "1970-01-01T00:00:02Z" } }, { pause: { until: "1970-01-01T00:00:01Z" } }]), 1000);
  }

  {
    const values = (more) => ({ concurrency: "", "rate.limit": "", "rate.per": "", "rate.burst": "", weight: "", ...Object.fromEntries(queues.DEFAULT_FIELDS.map(([name]) => [`defaults.${name}`, ""])), ...more });
    const told = { name: "a", state: "active", counts: {}, pause: null, concurrency: 5, weight: 2, defaults: { timeout: 3 }, later: { a: 1 } };
    equal("settings that the form does not know are written back", queues.wantedSettings(values({ concurrency: "7" }), told), { later: { a: 1 }, concurrency: 7 });
    equal("pauses are a word", queues.wantedSettings(values({ "defaults.retryBackoff": "linear" }), {}).defaults, { retryBackoff: "linear" });
    equal("or several lengths", queues.wantedSettings(values({ "defaults.retryBackoff": "1s, 5m" }), {}).defaults, { retryBackoff: ["1s", "5m"] });
    equal("and are shown as they are written", [queues.shownDefault([1, 300], false), queues.shownDefault(90, true), queues.shownDefault(null, true)], ["1s, 5m", "90s", ""]);
  }

  {
    const { differences, shortened } = await load("pages/task/diff.js");
    const lines = (text) => text.split("");
    const marked = (before, after) => differences(lines(before), lines(after)).map(([kind, line]) => ({ same: "", gone: "-", new: "+" })[kind] + line).join(" ");
    equal("what was put in shifts nothing else", marked("abcd", "axbcd"), "a +x b c d");
    equal("what was taken out and put in", marked("abc", "adc"), "a -b +d c");
    equal("the same", marked("ab", "ab"), "a b");
    equal("nothing before", marked("", "a"), "+a");
    const far = differences(lines("abcdefgh"), lines("abcdefgx"));
    equal("only what is near a difference is shown", shortened(far, 1).map((line) => line?.[1] ?? null), [null, "g", "h", "x"]);
    const calls = await load("pages/task/calls.js");
    equal("bytes as people look at them", calls.hex(new Uint8Array([72, 105, 0])).replace(/ +/g, " "), "0000 48 69 00 Hi.");
    equal("bytes that are no text", [...calls.bytesOf({ body: "/w==", bodyEncoding: "base64" })], [255]);
    equal("a header that was repeated", calls.pairs({ a: ["1", "2"], b: "3" }), [["a", "1"], ["a", "2"], ["b", "3"]]);
    const call = { method: "GET", url: "/x", request: { headers: {}, body: "" }, response: null, error: "no route" };
    equal("a call without an answer says so", calls.linesOf(call).at(-1), "No answer: no route");
  }
  equal("captures are told as true or false", (await load("pages/queues/words.js")).wantedSettings({ concurrency: "", "rate.limit": "", "rate.per": "", "rate.burst": "", weight: "", ...Object.fromEntries((await load("pages/queues/words.js")).DEFAULT_FIELDS.map(([name]) => [`defaults.${name}`, name === "capture" ? "false" : ""])) }, {}).defaults, { capture: false });

  {
    const { cell, csv, ndjson } = await load("pages/tasks/export.js");
    equal("cells are quoted where they have to be", [null, "a", 'a"b', "a,b", "a\nb", 7].map(cell), ["", "a", '"a""b"', '"a,b"', '"a\nb"', "7"]);
    equal("no cell is a formula", ["=1+1", "@x", "-1", "+1"].map(cell), ["'=1+1", "'@x", "'-1", "'+1"]);
    const task = { id: "task_1", status: "failed", tags: ["a", "b"], metadata: { order: "17" } };
    const [head, line] = csv([task]).split("\r\n");
    equal("a table has a head", head.startsWith("id,status,ok,"), true);
    equal("and a line for each task", line.endsWith('a b,"{""order"":""17""}"'), true);
    equal("a line of JSON for each", ndjson([task, task]).trim().split("\n").map((text) => JSON.parse(text).id), ["task_1", "task_1"]);
  }
  const targets = await load("pages/targets/words.js");
  equal("a host of a URL", ["http://A.example:80/x", "a.example:8080", " b "].map(targets.hostOf), ["a.example", "a.example:8080", "b"]);
  {
    const rule = (failuresInARow, percent, of, pause) => targets.wantedRule({ failuresInARow, "failureShare.percent": percent, "failureShare.of": of, pause, maxPause: "", disableAfter: "" });
    equal("a rule without a condition is none", rule("", "", "", ""), {});
    equal("half a share is sent, and refused by name", rule("3", "50", "", "1m"), { failuresInARow: 3, failureShare: { percent: 50 }, pause: "1m" });
  }

  const operations = await load("pages/operations/words.js");
  equal("filters of an address as the API wants them", operations.wantedFilter({ status: "failed, timeout", ok: "false", minAttempts: "2", q: "a,b", retried: "true" }), { status: ["failed", "timeout"], q: "a,b", minAttempts: 2, ok: false });
  equal("for ten minutes it can be undone", [500_000, 700_000].map((now) => operations.isUndoable({ action: "cancel", done: 1, endedAt: "1970-01-01T00:00:00Z" }, now)), [true, false]);

  const tail = await load("pages/events/state.js");
  {
    const rows = (...keys) => keys.map((key) => ({ key, gap: null, event: {} }));
    const came = (state, ...keys) => tail.reduce(state, { type: "came", rows: rows(...keys), position: keys.at(-1) });
    const shown = came(tail.noTail, "1", "2");
    equal("the newest event is first", [shown.rows.map(({ key }) => key), shown.position], [["2", "1"], "2"]);
    const paused = came(tail.reduce(shown, { type: "paused" }), "3");
    equal("a paused tail counts on", [paused.rows.length, paused.heldCount, paused.seen, paused.position], [2, 1, 3, "3"]);
    equal("and shows it all afterwards", tail.reduce(paused, { type: "resumed" }).rows.map(({ key }) => key), ["3", "2", "1"]);
    const many = came(shown, ...Array.from({ length: 400 }, (_, n) => String(n + 3)));
    equal("no more rows are kept than can be read", [many.rows.length, many.rows[0].key], [tail.MOST, "402"]);
    equal("a gap is a row", tail.rowsOf([{ id: "9", type: "gap", data: '{"after":1,"firstAvailable":9}' }, { id: "9", type: "", data: "" }]).map(({ gap }) => gap), [{ after: 1, firstAvailable: 9 }]);
  }
  const { startOf } = await load("pages/events/from.js");
  equal("where a tail begins", ["", "now", "12", "2030-01-01T00:00:00Z", "soon"].map((text) => startOf(text).kind), ["now", "now", "position", "time", "wrong"]);

  const { redirectProblem } = await load("pages/apps/redirect.js");
  for (const uri of ["https://a.example/back", "http://127.0.0.1:8000/back", "http://localhost/", "http://[::1]/x", "com.example.app:/callback"]) equal(`${uri} is a redirect URI`, redirectProblem(uri), "");
  for (const uri of ["", "/back", "https://a.example", "https://A.example/", "https://*.example/", "https://a.example/#x", "https://u@a.example/", "http://a.example/", "javascript:alert(1)", "http://127.0.0.1.evil.example/"])
    equal(`${uri} is none`, redirectProblem(uri) !== "", true);

  const dead = await load("pages/dead/causes.js");
  equal("what the errors of a cause have in common", dead.commonPart("Server error: HTTP <n> - Service Unavailable"), "- Service Unavailable");
  equal("a cause without an answer is asked for by its error", dead.filtersOfCause({ host: "a", httpStatus: null, error: "refused <n>" }), { host: "a", errorContains: "refused" });
  equal("a probe is followed", dead.followed({ id: "a", status: "pending" }, [{ taskId: "b", status: "failed" }, { taskId: "a", status: "completed", ok: true }]), { id: "a", status: "completed", ok: true });

  const activity = await load("pages/activity/state.js");
  {
    const entry = { stream: "control", seq: 1, at: "2030-01-01T00:00:00.000Z", type: "key.created", actor: "user:user_1", outcome: "ok" };
    const once = activity.reduce(activity.noActivity, { type: "happened", entries: [entry] });
    equal("an entry is shown once", activity.reduce(once, { type: "happened", entries: [entry] }).fresh.length, 1);
    equal("a beginning of a type matches", activity.matches(entry, { type: "key.", actor: "user_1" }), true);
    equal("another one does not", activity.matches(entry, { type: "task." }), false);
  }

  const proof = await load("pages/activity/proof.js");
  {
    // The forms that the log's own tests hold for ever.
    const event = { seq: 7, time: "1795245168120456789", subject: "control.team_1.key.key_2", headers: [["Wb-Actor", "operator:cli"], ["Wb-Event", "key.created.v1"]], payload: btoa("\x81\xa3mac\xa1x") };
    const leaf = "eeb4f823de702d54539664ddf8b84ff4d9de56a771f2337428df2a038f801025";
    equal("the leaf of an event", await proof.leafOf(event, "1"), leaf);
    equal("another byte is another leaf", (await proof.leafOf({ ...event, payload: btoa("\x81\xa3mac\xa1y") }, "1")) === leaf, false);
    equal("a withheld field has to be a hash", await proof.leafOf({ ...event, withheld: ["mac"] }, "1"), null);
    const note = [
      "waybill/test/control", "12", "SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=", "seq 12", "time 1795245168120456789", "stream 1795245100000000000",
      "signed 1795245169000000000", "previous baBjNSjeqgFE57BYMV8LdT7AuUUWOnK/lqDRgYD53g0=", "",
      "\u2014 waybill/test 65gE2g5qAzTxpeAduLHeX4wUvIyPYLjNEjBZCIG9v366/hVAYykSD2UxKjvtQ++OyWdXrPPmvR8mhWgGkvw1hQVp7QY=", "",
    ].join("\n");
    const key = "waybill/test+eb9804da+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    const read = proof.readCheckpoint(note);
    equal("a checkpoint is read", [read.tree, read.size, read.stream], ["control", 12, "1795245100000000000"]);
    const verdict = await proof.signedBy(read, `# keys\n${key} - -\n`);
    equal("its signature counts", verdict === key || verdict === null, true);
    // Base64 has the sign that stands between the parts of a key, too.
    const signed = note.replace(/previous .*/, "previous -").replace(/\u2014 .*/, "\u2014 waybill/test wXQPozD/i700QlmbPuVbvXcDzbRWsDZNm7HkrWxutpHDEao8b909ywoSlBbWciKHYztTw81ILpS5XufkU23a+Kuzpg8=");
    const other = "waybill/test+c1740fa3+AROY9ixtGkV8UbpqS189vS9p/KkyFiGNyJl+QWvRfZPK";
    equal("of any key", (await proof.signedBy(proof.readCheckpoint(signed), `${other} - -`)) === other, verdict === key);
    equal("not outside of the time of its key", await proof.signedBy(read, `${key} - 2020-01-01T00:00:00Z`), "");
    const forged = await proof.signedBy(proof.readCheckpoint(note.replace("\n12\n", "\n13\n")), `${key} - -`);
    equal("and of another text it does not", forged === "" || forged === null, true);
    equal("what is no checkpoint", [proof.readCheckpoint(""), proof.readCheckpoint("a\n\nb")], [null, null]);

    // Trees of 1 to 9 leaves: every leaf of each is in it and in no other, and each goes on from every smaller one.
    const hash = async (bytes) => proof.toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", Uint8Array.from(bytes))));
    const ofHex = (text) => text.match(/../g).map((pair) => Number.parseInt(pair, 16));
    const leaves = await Promise.all(Array.from({ length: 9 }, (_, n) => hash([0, n])));
    const split = (count) => 2 ** Math.floor(Math.log2(count - 1));
    const root = async (all) => (all.length === 1 ? all[0] : hash([1, ...ofHex(await root(all.slice(0, split(all.length)))), ...ofHex(await root(all.slice(split(all.length))))]));
    const path = async (at, all) => {
      if (all.length === 1) return [];
      const k = split(all.length);
      return at < k ? [...(await path(at, all.slice(0, k))), await root(all.slice(k))] : [...(await path(at - k, all.slice(k))), await root(all.slice(0, k))];
    };
    const grown = async (m, all, whole) => {
      if (m === all.length) return whole ? [] : [await root(all)];
      const k = split(all.length);
      return m <= k ? [...(await grown(m, all.slice(0, k), whole)), await root(all.slice(k))] : [...(await grown(m - k, all.slice(k), false)), await root(all.slice(0, k))];
    };
    const found = [];
    for (let size = 1; size <= leaves.length; size += 1) {
      const all = leaves.slice(0, size);
      const top = await root(all);
      for (let index = 0; index < size; index += 1) {
        const given = { leaf: leaves[index], index, size, path: await path(index, all), root: top };
        found.push(await proof.includes(given));
        found.push(!(await proof.includes({ ...given, leaf: leaves[(index + 1) % leaves.length] })));
        found.push(!(await proof.includes({ ...given, path: [...given.path, top] })));
      }
      for (let from = 1; from <= size; from += 1) {
        const given = { from, to: size, fromRoot: await root(leaves.slice(0, from)), toRoot: top, path: await grown(from, all, true) };
        found.push(await proof.onlyGrew(given));
        found.push(!(await proof.onlyGrew({ ...given, fromRoot: leaves[8] })));
      }
    }
    equal("proofs of every tree hold, and forged ones do not", found.filter((holds) => !holds).length, 0);
    const entry = { seq: 7, at: "2026-11-21T07:12:48.120Z", type: "key.created", actor: "operator:cli" };
    equal("an entry is what was proven", proof.differs(entry, { ...event, at: entry.at }), []);
    equal("and another one is not", proof.differs({ ...entry, actor: "user:x", type: "key.revoked" }, { ...event, at: entry.at }), ["event", "actor"]);
  }

  const keys = await load("pages/keys/state.js");
  {
    const made = keys.reduce(keys.noDialog, { type: "made", key: { key: "secret" } });
    equal("a key that nobody has stored stays on the page", keys.reduce(made, { type: "closed" }).dialog.kind, "secret");
    const stored = keys.reduce(made, { type: "stored", stored: true });
    equal("and is gone once it is", JSON.stringify(keys.reduce(stored, { type: "closed" })).includes("secret"), false);
  }

  const { roleMay } = await load("core/team.js");
  equal("what roles may", [roleMay("viewer", "tasks:write"), roleMay("member", "tasks:write"), roleMay("member", "keys:write"), roleMay("admin", "keys:write")], [false, true, false, true]);

  const { curlLine } = await load("ui/curl.js");
  equal("curl quotes what a shell would read", curlLine({ method: "POST", path: "/v1/tasks?a=b", body: { a: "it's" } }, "http://x").includes(`'{"a":"it'\\''s"}'`), true);

  const { pythonLines, typescriptLines } = await load("ui/curl.js");
  const sent = [{ method: "POST", path: "/v1/tasks", body: { a: [true, null, "\"x"], b: undefined }, headers: { prefer: "y" } }];
  equal("Python has its own words", pythonLines(sent, "http://x").includes('headers={"Authorization": f"Bearer {key}", "prefer": "y", "Content-Type": "application/json"}, data=json.dumps({"a": [True, None, "\\"x"]}).encode())'), true);
  equal("and takes no more than it needs", pythonLines([{ method: "GET", path: "/v1/tasks" }], "http://x").includes("json"), false);
  equal("TypeScript as well", typescriptLines(sent, "http://x").includes('{ method: "POST", headers: { Authorization: `Bearer ${key}`, "prefer": "y", "Content-Type": "application/json" }, body: JSON.stringify({"a":[true,null,"\\"x"]}) }'), true);

  const { length, relative } = await load("ui/words.js");
  equal("lengths in words", [length(340), length(3_100), length(125_000), length(90_000_000)], ["340 ms", "3.1 s", "2 min 5 s", "1 d 1 h"]);
  equal("times in words", [relative(0, 3000), relative(120_000, 0), relative(0, 400)], ["3 s ago", "in 2 min", "now"]);

  const schedules = await load("pages/schedules/words.js");
  for (const [when, words] of [
    ["cron(0 9 * * MON-FRI)", "at 09:00 on Monday to Friday"],
    ["cron(30 6,18 * * *)", "at 06:30, 18:30 every day"],
    ["cron(*/5 * * * *)", "every 5 minutes"],
    ["cron(0 0 1 JAN,7 *)", "at 00:00 on day 1 of the month in January, July"],
    ["cron(5 * * * 7)", "every hour at :05 on Sunday"],
    ["cron(0-10 9 * * *)", "cron(0-10 9 * * *)"],
    ["every 90s", "every 90s"],
    ["at 2030-01-31T09:00", "once, at 2030-01-31 09:00"],
  ])
    equal(when, schedules.whenWords(when), words);
  equal(
    "a schedule is sent without what is empty",
    schedules.wanted({ name: "", when: "every 5m", zone: "UTC", jitter: "", from: "", until: "", overlap: "skip", "catchUp.mode": "all", "catchUp.max": "3", "catchUp.within": "" }, { targetUrl: "http://x" }),
    { when: "every 5m", zone: "UTC", overlap: "skip", catchUp: { mode: "all", max: 3 }, task: { targetUrl: "http://x" } },
  );

  const { match } = await load("pages/pages.js");
  equal("addresses name pages", [match("/tasks/:id", "/tasks/task_1"), match("/tasks", "/tasks/"), match("/tasks", "/keys")], [{ id: "task_1" }, {}, null]);

  return wrong;
}
