"""Everybody can use the pages: axe finds nothing, in both themes and at 360 px; and pictures of them, when they are asked for."""

import os
from pathlib import Path

import axe_playwright_python

from browser import is_live

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
WIDTHS = [1280, 360]
# What docs/dashboard.md and the README show, and how large.
SHOWN = ["overview", "tasks", "task-failed", "queues", "schedule", "workers", "workflows", "limits", "system", "activity"]
SMALL = (840, 500)


def violations(browser, page, rules):
    """What axe finds. It comes in by the debugger, since the policy of the page refuses scripts of others."""
    session = browser.context.new_cdp_session(page)
    if not page.evaluate("'axe' in window"):
        session.send("Runtime.evaluate", {"expression": AXE})
    node = "node.html.slice(0, 160) + ' ' + node.failureSummary.slice(0, 200)"
    found = f"found.violations.map((one) => [one.id, one.nodes.slice(0, 3).map((node) => {node})])"
    run = f"axe.run(document, {{runOnly: {rules}, preload: false}}).then((found) => JSON.stringify({found}))"
    answer = session.send("Runtime.evaluate", {"expression": run, "awaitPromise": True, "returnByValue": True})
    session.detach()
    return answer["result"].get("value", str(answer))


def dress(page, theme, width, height=800):
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)


def look(browser, page, name):
    """Checks what is shown now, in each theme and width. A theme changes colours alone, so the second one is asked about those."""
    alone = page.evaluate("[...document.querySelectorAll('.icon')].map((icon) => icon.parentElement).filter((one) => !one.textContent.trim()).length")
    assert alone == 0, f"{name} has {alone} icons without words"
    for width in WIDTHS:
        for theme, rules in [("light", RULES), ("dark", COLOURS)]:
            dress(page, theme, width)
            overflow = page.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
            assert overflow <= 0, f"{name} is {overflow} px too wide at {width} px"
            found = violations(browser, page, rules)
            assert found == "[]", f"{name}, {theme}, {width} px: {found}"
            keep_picture(page, f"{name}-{theme}-{width}")
    for theme in ["light", "dark"] if name in SHOWN else []:
        dress(page, theme, *SMALL)
        keep_picture(page, f"small-{name}-{theme}")
    dress(page, "light", WIDTHS[0])


def keep_picture(page, name):
    folder = os.environ.get("WAYBILL_DASHBOARD_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", caret="initial")


def test_pages_before_sign_in_are_accessible(world, browser):
    page = browser.page()
    for name in ["", "sign-up", "confirm", "forgot", "reset", "link"]:
        browser.open(page, f"/ui/{name}")
        look(browser, page, name or "sign-in")


def test_pages_of_a_team_are_accessible(world, browser):
    failed = world.send("/hello?fail=9", maxRetries=1, retryBackoff=["1s"], success="2xx", tags=["weekly"], metadata={"order": "17"})
    waiting = world.send(delay="2h", queue="mail")
    done = world.send("/hello", json={"hello": "world"}, onCompleteUrl=world.sink.url + "/hook")
    for task in [failed, done]:
        world.call("GET", f"/v1/tasks/{task}?wait=20")
    token = world.call("POST", "/v1/tokens", {"name": "a look", "value": "x"})["token"]["id"]
    world.call("PUT", "/v1/limits/looked:at", {"concurrency": 2})
    world.call("PUT", "/v1/targets/looked.at/health", {"failuresInARow": 5})
    often = {"name": "Often", "when": "every 1s", "task": {"targetUrl": world.sink.url + "/often"}}
    schedule = world.call("POST", "/v1/schedules", often)["schedule"]["id"]
    world.call("PUT", "/v1/workers/resizer-1", {"queues": ["looked-at"], "host": "a.internal", "version": "1.2", "maxConcurrency": 4})
    world.call("POST", "/v1/tasks", {"queue": "looked-at", "json": 1})
    world.call("POST", "/v1/claims", {"queues": ["looked-at"], "worker": "resizer-1", "wait": 10, "leaseSeconds": 600})
    steps = [{"name": "first", "task": {"targetUrl": world.sink.url + "/one"}}, {"name": "second", "runAfter": ["first"], "task": {"json": 2}}]
    flow = world.call("POST", "/v1/workflows", {"name": "Two steps", "queue": "flows", "tasks": steps})["workflow"]["id"]
    operation = world.call("POST", "/v1/operations", {"action": "cancel", "filter": {"queue": ["nowhere"]}})["operation"]["id"]
    world.call("POST", f"/teams/{world.team}/apps", {"name": "a look", "scopes": ["tasks:read"]}, world.session(world.owner))
    for shared, name in ((False, "My mail"), (True, "Failed mail")):
        view = {"page": "tasks", "name": name, "query": "queue=mail", "shared": shared}
        world.call("POST", "/v1/views", view, world.session(world.owner))
    page = browser.signed_in()
    pages = [
        ("overview", "/ui/", ".chart svg"),
        ("tasks", "/ui/tasks", "tbody tr"),
        ("tasks-none", "/ui/tasks?q=nothing-like-it", ".empty"),
        ("task", f"/ui/tasks/{done}", "tr[data-event]"),
        ("task-failed", f"/ui/tasks/{failed}", "tr[data-event]"),
        ("task-waiting", f"/ui/tasks/{waiting}", "[data-kind=not_due]"),
        ("replay", f"/ui/tasks/{failed}/replay", "#json"),
        ("composer", "/ui/tasks/new", "#json"),
        ("queues", "/ui/queues", "tbody tr"),
        ("queue", "/ui/queues/mail", "tbody tr"),
        ("schedules", "/ui/schedules", "tbody tr"),
        ("schedule", f"/ui/schedules/{schedule}", "tbody tr"),
        ("workers", "/ui/workers", "tbody tr"),
        ("worker", "/ui/workers/resizer-1", "tbody tr"),
        ("workflows", "/ui/workflows", "tbody tr"),
        ("workflow", f"/ui/workflows/{flow}", "tbody tr"),
        ("limits", "/ui/limits?sort=-running", "tbody tr"),
        ("targets", "/ui/targets", "tbody tr"),
        ("target", "/ui/targets/looked.at", ".sentence"),
        ("operations", "/ui/operations", "tbody tr"),
        ("operation", f"/ui/operations/{operation}", "meter"),
        ("operation-new", "/ui/operations/new?action=replay&queue=default", "tbody tr"),
        ("dead-letters", "/ui/dead-letters", "tbody tr"),
        ("dead-letter-list", "/ui/dead-letters/list", "tbody tr"),
        ("dead-letters-none", "/ui/dead-letters/list?host=nowhere", ".empty"),
        ("events", f"/ui/events?task={failed}", "tbody tr"),
        ("activity", "/ui/activity?stream=control", "tbody tr"),
        ("keys", "/ui/keys", "tbody tr"),
        ("vault", "/ui/vault", "tbody tr"),
        ("credential", f"/ui/vault/{token}", "tbody tr"),
        ("apps", "/ui/apps", "tbody tr"),
        ("webhooks", "/ui/webhooks", ".figures"),
        ("usage", "/ui/usage", "meter"),
        ("system", "/ui/system", "meter"),
        ("team", "/ui/team", "tbody tr"),
        ("new-team", "/ui/teams/new", "#name"),
        ("join", "/ui/join", "#token"),
        ("device", "/ui/device?code=WDJB-MJHT", "#userCode"),
        ("missing", "/ui/nowhere", ".empty"),
    ]
    for name, path, ready in pages:
        browser.open(page, path, ready)
        is_live(page)
        if name == "activity":
            page.click("main button:has-text('Prove this page')")
            page.wait_for_selector(".notice:has-text('are proven')")
        page.evaluate("document.querySelector('details.curl')?.setAttribute('open', '')")
        look(browser, page, name)
        if name == "schedule":
            world.call("POST", f"/v1/schedules/{schedule}/pause")


def test_dialogs_are_accessible(world, browser):
    world.send(delay="2h", queue="mail")
    page = browser.signed_in(path="/ui/keys?env=test")
    page.wait_for_selector("tbody tr")
    page.keyboard.press("?")
    page.wait_for_selector("dialog#help[open]")
    look(browser, page, "help")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.wait_for_selector("dialog#palette[open]")
    look(browser, page, "palette")
    page.keyboard.press("Escape")
    page.click("main button.primary")
    page.select_option("#preset", "custom")
    look(browser, page, "create-key")
    page.fill("#name", "for a look")
    page.select_option("#preset", "read_only")
    page.click("dialog button.primary")
    page.wait_for_selector("#new-key")
    look(browser, page, "secret")
    browser.open(page, "/ui/queues", "tbody tr")
    page.click("button[aria-label='Pause mail']")
    page.wait_for_selector("dialog#pause-queue[open]")
    look(browser, page, "pause-queue")
    browser.open(page, "/ui/schedules", "h1")
    page.click("main button.primary")
    page.wait_for_selector("dialog #when")
    look(browser, page, "new-schedule")
    browser.open(page, "/ui/apps", "h2")
    page.click("main button.primary")
    page.fill("#redirectUris", "http://a.example/")
    page.wait_for_selector("#wrong-redirects li")
    look(browser, page, "register-app")


def test_failures_are_accessible(world, browser):
    browser.allow("404")
    page = browser.signed_in(path="/ui/tasks/task_01k00000000000000000000000")
    page.wait_for_selector(".failure")
    look(browser, page, "failure")
