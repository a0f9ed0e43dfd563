"""Workers that pull, workflows, hosts that are opened, what is done to several rows at once, saved views, and devices that ask for access."""

import json
import urllib.error
import urllib.parse
import urllib.request

from browser import Browser, is_live, until
from flow import Patient


def claim(world, queue, worker, **more):
    return world.call("POST", "/v1/claims", {"queues": [queue], "worker": worker, "wait": 10, "leaseSeconds": 600, **more})["claims"]


def test_a_worker_is_seen_with_what_it_holds_drained_resumed_and_taken_off_the_list(world, browser):
    page = browser.signed_in(path="/ui/workers")
    page.wait_for_selector("main table, .empty")
    is_live(page)
    world.call("PUT", "/v1/workers/press-1", {"queues": ["prints"], "host": "press.internal", "version": "2.4.1", "maxConcurrency": 3})
    task = world.call("POST", "/v1/tasks", {"queue": "prints", "json": 1})["task"]["id"]
    held = claim(world, "prints", "press-1")[0]
    page.reload()
    row = "tr[data-row='press-1']"
    page.wait_for_selector(f"{row} td:text-is('1')")
    page.wait_for_selector(f"{row}:has-text('active'):has-text('2.4.1 on press.internal')")
    page.click(f"{row} a.row-link")
    page.wait_for_selector("h1:text-is('Worker press-1')")
    page.wait_for_selector(f"tr[data-row='{held['id']}'] a[href$='{task}']")
    page.click("button[aria-label='Drain press-1']")
    page.fill("#reason", "a new version")
    page.press("#reason", "Enter")
    page.wait_for_selector(".sentence:has-text('draining')")
    page.wait_for_selector("p:has-text('Drained by ann'):has-text('a new version')")
    # What it holds it keeps, and reports; then it may be stopped.
    world.call("POST", f"/v1/claims/{held['id']}/complete", {"result": 1})
    page.wait_for_selector(".sentence:has-text('it may be stopped')")
    page.wait_for_selector(".fresh button, .empty:has-text('It holds no task')")
    page.click("button:has-text('Resume')")
    page.wait_for_selector(".sentence:has-text('active')")
    assert world.call("GET", "/v1/workers/press-1")["worker"]["drain"] is None
    page.click("button[aria-label='Deregister press-1']")
    page.click("dialog button:has-text('Deregister it')")
    page.wait_for_selector("h1:text-is('Workers')")
    page.wait_for_selector("main table, .empty")
    assert page.locator(row).count() == 0
    assert all(worker["name"] != "press-1" for worker in world.call("GET", "/v1/workers")["workers"])


def test_a_workflow_is_followed_retried_and_cancelled(world, browser):
    with Patient() as target:
        tasks = [
            {"name": "fetch", "task": {"targetUrl": world.sink.url + "/fetch"}},
            {"name": "check", "runAfter": ["fetch"], "task": {"targetUrl": target.url, "success": "2xx", "maxRetries": 0}},
            {"name": "load", "runAfter": ["check"], "task": {"json": {"load": True}}},
        ]
        flow = world.call("POST", "/v1/workflows", {"name": "Import", "queue": "imports", "tasks": tasks})["workflow"]["id"]
        page = browser.signed_in(path="/ui/workflows")
        page.wait_for_selector(f"tr[data-row='{flow}']:has-text('Import')")
        is_live(page)
        page.wait_for_selector(f"tr[data-row='{flow}'] .status:has-text('failed')")
        page.click(f"tr[data-row='{flow}'] a.row-link")
        page.wait_for_selector("h1:text-is('Workflow Import')")
        page.wait_for_selector(".sentence:has-text('1 of 3 tasks completed'):has-text('1 failed')")
        assert page.locator(".graph g").count() == 3 and page.locator(".graph svg > path").count() == 2
        page.wait_for_selector("tr[data-row=load] .status:has-text('cancelled')")
        target.status = 200
        page.click("button:has-text('Retry what failed')")
        page.wait_for_selector("tr[data-row=check]:has-text('completed'):has-text('Made by retry 1')")
        page.wait_for_selector("tr[data-row=load] .status:has-text('pending')")
        page.click("button[aria-label='Cancel the workflow']")
        page.wait_for_selector("dialog h2:text-is('Cancel 1 task?')")
        page.click("dialog button:has-text('Cancel the workflow')")
        page.wait_for_selector("tr[data-row=load] .status:has-text('cancelled')")
        page.click("tr[data-row=check] a.row-link")
        page.wait_for_selector("dd:has-text('in which it is check') a")
        page.go_back()
        # The picture leads there, too.
        page.click(".graph g:has-text('fetch')")
        page.wait_for_selector("dd:has-text('in which it is fetch')")
    browser.open(page, "/ui/workflows", "tbody tr")
    page.click(".chip:text-is('pending')")
    until(page, "location.search.includes('status=pending')")
    page.wait_for_selector(f"tr[data-row='{flow}']", state="detached")


def test_a_host_is_opened_with_a_reason_and_closed(world, browser):
    page = browser.signed_in(path="/ui/targets/opened.example")
    page.wait_for_selector("text=Rule: none.")
    page.click("button[aria-label='Open opened.example']")
    page.fill("#reason", "they are moving")
    page.press("#reason", "Enter")
    page.wait_for_selector(".sentence:has-text('open'):has-text('by ann'):has-text('they are moving')")
    # A rule with everything in it keeps all of it when it is set again.
    rule = {"failuresInARow": 5, "disableAfter": "5d"}
    world.call("PUT", "/v1/targets/opened.example/health", rule)
    page.reload()
    page.fill("#failuresInARow", "6")
    page.press("#failuresInARow", "Enter")
    page.wait_for_selector("text=6 failures in a row")
    assert world.call("GET", "/v1/targets/opened.example/health")["target"]["rule"]["disableAfter"] == 5 * 86_400
    page.click("a:text('All hosts with a rule')")
    row = "tr[data-row='opened.example']"
    page.wait_for_selector(f"{row}:has-text('they are moving')")
    page.click(f"{row} button:has-text('Close')")
    page.wait_for_selector(f"{row} .status:has-text('closed')")
    assert world.call("GET", "/v1/targets/opened.example/health")["target"]["opened"] is None
    world.call("PUT", "/v1/targets/opened.example/health", {})


def test_schedules_and_queues_are_paused_and_resumed_together(world, browser):
    browser.allow("404")
    make = lambda name: world.call("POST", "/v1/schedules", {"name": name, "when": "cron(0 0 1 1 *)", "task": {"targetUrl": world.sink.url}})["schedule"]["id"]
    first, second, gone = [make(name) for name in ("Alpha", "Beta", "Gone")]
    page = browser.signed_in(path="/ui/schedules")
    for schedule in (first, second, gone):
        page.check(f"tr[data-row='{schedule}'] input[type=checkbox]")
    world.call("DELETE", f"/v1/schedules/{gone}")
    page.click("button:has-text('Pause them')")
    page.wait_for_selector("dialog h2:text-is('Pause 3 schedules?')")
    page.fill("#reason", "the year is over")
    page.press("#reason", "Enter")
    page.wait_for_selector(".notice:has-text('2 of 3 schedules paused, 1 refused')")
    page.wait_for_selector(".notice li:has-text('Gone')")
    for schedule in (first, second):
        page.wait_for_selector(f"tr[data-row='{schedule}']:has-text('the year is over')")
        page.check(f"tr[data-row='{schedule}'] input[type=checkbox]")
    page.click("button:has-text('Resume them')")
    page.click("dialog button:has-text('Resume 2 schedules')")
    page.wait_for_selector(f"tr[data-row='{first}'] .status:has-text('active')")
    assert world.call("GET", f"/v1/schedules/{second}")["schedule"]["pause"] is None
    for schedule in (first, second):
        world.call("DELETE", f"/v1/schedules/{schedule}")
    for name in ("together-1", "together-2"):
        world.send(queue=name, delay="1h")
    browser.open(page, "/ui/queues", "tr[data-row=together-1]")
    page.focus("tr[data-row=together-1] a.row-link")
    page.keyboard.press("x")
    page.focus("tr[data-row=together-2] a.row-link")
    page.keyboard.press("Shift+X")
    page.click("button:has-text('Pause them')")
    page.click("dialog button:has-text('Pause 2 queues')")
    page.wait_for_selector(".notice:has-text('2 of 2 queues paused.')")
    for name in ("together-1", "together-2"):
        page.wait_for_selector(f"tr[data-row={name}] .status:has-text('paused')")
        world.call("POST", f"/v1/queues/{name}/resume")


def test_columns_are_sorted_and_the_address_says_so(world, browser):
    for name, concurrency in (("sort:a", 1), ("sort:b", 2)):
        world.call("PUT", f"/v1/limits/{name}", {"concurrency": concurrency})
    page = browser.signed_in(path="/ui/limits")
    page.wait_for_selector("tr[data-row='sort:a']")
    keys = lambda: [key for key in page.eval_on_selector_all("tr[data-row]", "(rows) => rows.map((row) => row.dataset.row)") if key.startswith("sort:")]
    assert keys() == ["sort:a", "sort:b"]
    page.click("th button:has-text('Limit')")
    page.click("th button:has-text('Limit')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('Limit')")
    assert keys() == ["sort:b", "sort:a"] and "sort=-limit" in page.url
    page.reload()
    page.wait_for_selector("th[aria-sort=descending]")
    page.wait_for_selector("tr[data-row='sort:a']")
    assert keys() == ["sort:b", "sort:a"]


def test_filters_are_saved_under_a_name_shared_and_deleted(world, browser):
    page = browser.signed_in(path="/ui/tasks?queue=saved-queue&status=failed")
    page.click("button:has-text('Save this view')")
    page.fill("#name", "Failed of one queue")
    page.select_option("#of", "team")
    page.press("#name", "Enter")
    page.wait_for_selector("a.chip[aria-current=true]:text-is('Failed of one queue')")
    # Somebody else in the team has it too, and may not change it as a viewer.
    other = Browser(browser.context.browser, world)
    theirs = other.signed_in(world.viewer, path="/ui/tasks")
    theirs.click("a.chip:text-is('Failed of one queue')")
    until(theirs, "location.search.includes('queue=saved-queue') && location.search.includes('status=failed')")
    theirs.click("button:has-text('Saved views')")
    assert theirs.locator("dialog li:has-text('Failed of one queue') button:has-text('Delete')").is_disabled()
    other.check()
    other.close()
    page.click(".chip:text-is('All')")
    page.wait_for_selector("a.chip:not([aria-current]):text-is('Failed of one queue')")
    page.click("button:has-text('Saved views')")
    page.click("dialog li:has-text('Failed of one queue, of the team') button")
    page.wait_for_selector("dialog:has-text('None is left'), dialog ul:not(:has-text('Failed of one queue'))")
    page.click("dialog button:has-text('Close')")
    assert all(view["name"] != "Failed of one queue" for view in world.call("GET", "/v1/views")["views"])
    # The other lists have theirs.
    browser.open(page, "/ui/activity?type=key.")
    page.click("button:has-text('Save this view')")
    page.fill("#name", "Keys of the team")
    page.press("#name", "Enter")
    page.wait_for_selector("a.chip[aria-current=true]:text-is('Keys of the team')")
    mine = world.call("GET", "/v1/views", bearer=world.session(world.owner))["views"]
    view = next(view for view in mine if view["name"] == "Keys of the team")
    assert (view["page"], view["shared"], view["query"]) == ("activity", False, "type=key."), view
    assert all(view["name"] != "Keys of the team" for view in world.call("GET", "/v1/views")["views"])


def form(url, fields):
    """The answer to a form, whatever its status."""
    request = urllib.request.Request(url, data=urllib.parse.urlencode(fields).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return json.loads(refused.read())


def test_a_device_is_let_in_by_its_code_and_another_is_refused(world, browser):
    browser.allow("404")
    app = {"name": "A terminal", "type": "public", "scopes": ["tasks:read", "tasks:write"], "redirectUris": ["http://127.0.0.1/back"]}
    made = world.call("POST", f"/teams/{world.team}/apps", app, world.session(world.owner))["app"]["id"]
    ask = lambda: form(world.url + "/oauth/device_authorization", {"client_id": made, "scope": "tasks:read"})
    grant_type = "urn:ietf:params:oauth:grant-type:device_code"
    poll = lambda asked: form(world.url + "/oauth/token", {"grant_type": grant_type, "client_id": made, "device_code": asked["device_code"]})
    asked = ask()
    assert poll(asked)["error"] == "authorization_pending"
    assert poll(asked)["error"] == "slow_down"
    page = browser.signed_in(path="/ui/device")
    page.fill("#userCode", "BCDF-GHJK")
    page.press("#userCode", "Enter")
    page.wait_for_selector(".failure:has-text('No device waits with this code')")
    page.goto(world.url + urllib.parse.urlsplit(asked["verification_uri_complete"])._replace(scheme="", netloc="").geturl())
    page.wait_for_selector("#userCode")
    assert page.input_value("#userCode") == asked["user_code"]
    page.press("#userCode", "Enter")
    page.wait_for_selector("h2:text-is('A terminal asks for access')")
    page.wait_for_selector("li:has-text('tasks:read')")
    page.click("button:has-text('Allow it')")
    page.wait_for_selector(".notice:has-text('It has access now')")
    tokens = poll(asked)
    assert world.call("GET", "/v1/tasks?limit=1", bearer=tokens["access_token"])["tasks"] is not None
    # It is among the grants, and withdrawn there.
    page.click("a:text('Your grants')")
    page.wait_for_selector("tr:has-text('A terminal'):has-text('tasks:read') button:has-text('Withdraw')")
    other = ask()
    browser.open(page, "/ui/device", "#userCode")
    page.fill("#userCode", other["user_code"].lower().replace("-", ""))
    page.press("#userCode", "Enter")
    page.click("button:has-text('Refuse')")
    page.wait_for_selector(".notice:has-text('It was refused')")
    assert poll(other)["error"] == "access_denied"
    world.call("DELETE", f"/teams/{world.team}/apps/{made}", bearer=world.session(world.owner))


def test_the_overview_says_what_is_stuck(world, browser):
    world.send(queue="stuck-queue", delay="1h")
    world.call("POST", "/v1/queues/stuck-queue/pause", {"reason": "a look"})
    world.call("POST", "/v1/targets/stuck.example/open", {"reason": "they are moving"})
    page = browser.signed_in()
    page.wait_for_selector(".sentence:has-text('paused'):has-text('nothing starts at')")
    page.wait_for_selector("section li:has-text('stuck-queue is paused'):has-text('a look')")
    page.click("section li a:text-is('stuck.example')")
    page.wait_for_selector("h1:text-is('Target stuck.example')")
    world.call("POST", "/v1/queues/stuck-queue/resume")
    world.call("POST", "/v1/targets/stuck.example/close")


def test_dead_letters_are_purged_once_their_number_is_typed(world, browser):
    for _ in range(2):
        task = world.send("/hello?fail=9", maxRetries=0, success="2xx", queue="purged")
        world.call("GET", f"/v1/tasks/{task}?wait=20")
    page = browser.signed_in(path="/ui/dead-letters/list?queue=purged")
    page.wait_for_selector("tbody tr")
    page.click("a:has-text('Purge all that match')")
    page.wait_for_selector(".irreversible:has-text('This cannot be undone')")
    assert page.is_disabled("button:has-text('Purge 2 tasks')")
    page.fill("#typed", "2")
    page.click("button:has-text('Purge 2 tasks')")
    page.wait_for_selector(".sentence .status:has-text('completed')")
    browser.open(page, "/ui/dead-letters/list?queue=purged", ".empty")
    assert world.call("GET", f"/v1/tasks/{task}")["task"]["status"] == "failed"


def test_policies_of_leaks_and_of_the_vault_are_set_with_the_team(world, browser):
    page = browser.signed_in(path="/ui/team")
    page.click("button:has-text('Leaked keys and the vault')")
    page.wait_for_selector("dialog #leak")
    page.select_option("#leak", "warn")
    page.fill("#sealedHeaders", "X-Shop-Token")
    page.press("#sealedHeaders", "Enter")
    page.wait_for_selector("dialog", state="detached")
    owner = world.session(world.owner)
    team = world.call("GET", f"/teams/{world.team}", bearer=owner)["team"]
    sealed = [name.lower() for name in team["sealedHeaders"]]
    assert (team["leakPolicy"], sealed, team["requireAllowedHosts"]) == ("warn", ["x-shop-token"], False), team
    world.call("PUT", f"/teams/{world.team}/leak-policy", {"leakPolicy": "revoke"}, owner)
    world.call("PUT", f"/teams/{world.team}/vault-policy", {"sealedHeaders": []}, owner)
