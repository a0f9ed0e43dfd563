"""What calls sent and were answered, the difference of two of them, and files of tasks."""

import csv
import io
import json
import time

from browser import is_live
from world import ROOT


def calls_of(world, task, count):
    """The captures of a task, once there are so many: nothing acknowledges one."""
    for _ in range(100):
        captures = world.call("GET", f"/v1/tasks/{task}/captures")["captures"]
        if len(captures) >= count:
            return captures
        world.call("GET", f"/v1/tasks/{task}?wait=1")
    raise AssertionError(f"{task} has {len(captures)} captures instead of {count}")


def test_calls_are_shown_as_they_were_made_and_compared(world, browser):
    task = world.send(
        "/hello?fail=1",
        json={"order": 17},
        headers={"X-Mine": "yes"},
        maxRetries=2,
        retryBackoff=["1s"],
        success="2xx",
        onCompleteUrl=world.sink.url + "/hook",
    )
    world.call("GET", f"/v1/tasks/{task}?wait=20")
    calls_of(world, task, 3)
    page = browser.signed_in(path=f"/ui/tasks/{task}?call=attempt%201")
    page.wait_for_selector("button[aria-pressed=true]:has-text('attempt 1: 5')")
    sent = page.locator("section:has(#sent-title)")
    assert "x-mine" in sent.inner_text() and '"order": 17' in sent.inner_text()
    page.click("button:has-text('attempt 2: 2')")
    page.wait_for_selector("button[aria-pressed=true]:has-text('attempt 2')")
    page.click("summary:has-text('What differs from attempt 1')")
    assert page.locator(".diff del:has-text('waybill-attempt: 1')").count() == 1
    assert page.locator(".diff ins:has-text('waybill-attempt: 2')").count() == 1
    assert page.locator(".diff ins:has-text('Answer 2')").count() == 1
    page.click("button:has-text('hex')")
    page.wait_for_selector("section:has(#sent-title) pre:has-text('7b 22')")
    # Which call, and how it is shown, stand in the address.
    page.reload()
    page.wait_for_selector("section:has(#sent-title) pre:has-text('7b 22')")
    page.click("button:has-text('delivery 1')")
    page.click("button:has-text('pretty')")
    page.wait_for_selector("section:has(#sent-title) pre:has-text('task.completed')")


def test_a_queue_can_have_its_calls_not_kept(world, browser):
    world.call("PUT", "/v1/queues/unseen", {"defaults": {"maxRetries": 1}})
    page = browser.signed_in(path="/ui/queues/unseen")
    page.wait_for_selector("input[name='defaults.capture']")
    page.fill("input[name='defaults.capture']", "false")
    page.click("button:has-text('Set the limits')")
    for _ in range(100):
        defaults = world.call("GET", "/v1/queues/unseen")["queue"]["defaults"]
        if "capture" in defaults:
            break
        page.wait_for_timeout(50)
    assert defaults == {"maxRetries": 1, "capture": False}, defaults
    task = world.send("/hello", queue="unseen")
    world.call("GET", f"/v1/tasks/{task}?wait=20")
    browser.open(page, f"/ui/tasks/{task}", ".empty:has-text('No call is kept')")


def test_tasks_that_match_become_a_file(world, browser):
    sent = {world.send(queue="filed", delay="1h") for _ in range(103)}
    page = browser.signed_in(path="/ui/tasks?queue=filed")
    page.wait_for_selector("tbody tr")
    is_live(page)
    with page.expect_download() as waited:
        page.click("main button:has-text('NDJSON')")
    tasks = [json.loads(line) for line in waited.value.path().read_text().splitlines()]
    assert {task["id"] for task in tasks} == sent
    with page.expect_download() as waited:
        page.click("main button:has-text('CSV')")
    rows = list(csv.DictReader(io.StringIO(waited.value.path().read_text())))
    assert {row["id"] for row in rows} == sent and {row["queue"] for row in rows} == {"filed"}
    page.wait_for_selector("[role=status]:has-text('CSV: 103 tasks are in the file.')")


def test_webhooks_that_were_given_up_are_sent_again_and_a_sample_is_delivered(world, browser):
    task = world.send("/hello", onCompleteUrl=world.sink.url + "/status/410")
    def is_given_up():
        return any(one["id"] == task for one in world.call("GET", "/v1/tasks?kind=all&webhook=given_up&limit=100")["tasks"])

    for _ in range(200):
        if is_given_up():
            break
        time.sleep(0.05)
    page = browser.signed_in(path="/ui/webhooks?state=given_up")
    row = f"tr[data-row={task}]"
    page.wait_for_selector(row)
    page.check(f"{row} input")
    page.click("button:has-text('Resend them')")
    page.wait_for_selector("dialog :text('Each is delivered once more')")
    page.keyboard.press("Escape")
    browser.open(page, "/ui/webhooks?state=delivered", "main h2")
    page.fill("#url", world.sink.url + "/sample")
    page.click("button:has-text('Send it')")
    page.wait_for_selector("[role=status]:has-text('on its way')")
    page.click(".fresh:has-text('new deliver') button")
    page.wait_for_selector("tbody tr:has-text('/sample')")
    page.click("tbody tr:has-text('/sample') a")
    page.wait_for_selector("section:has(#sent-title) pre:has-text('task.cancelled')")


def test_what_receivers_verify_with_is_what_the_documentation_says(world, browser):
    page = browser.signed_in(path="/ui/webhooks")
    page.wait_for_selector("summary:has-text('Python')")
    text = (ROOT / "docs" / "webhooks.md").read_text()
    snippets = page.evaluate("[...document.querySelectorAll('pre[aria-label^=Verification] code')].map((code) => code.textContent)")
    assert len(snippets) == 6
    for snippet in snippets:
        missing = [part for part in snippet.split("\n\n") if "import (" not in part and part not in text]
        assert missing == [], missing
