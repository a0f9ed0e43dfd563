"""Limits, targets, operations, and settings of queues: what people steer many tasks with."""

from browser import is_live, until
from flow import dead, queue


def ended(world, task):
    """How a task ends."""
    for _ in range(6):
        status = world.call("GET", f"/v1/tasks/{task}?wait=5")["task"]["status"]
        if status not in ("pending", "processing"):
            return status
    raise AssertionError(f"{task} is still {status}")


def test_a_limit_is_set_shown_with_what_waits_paused_and_resumed(world, browser):
    browser.allow("400", "404", "412")
    page = browser.signed_in(path="/ui/limits")
    page.click("main .title button")
    page.fill("#key", "customer:17")
    page.fill("[name='rate.limit']", "5")
    page.press("[name='rate.limit']", "Enter")
    page.wait_for_selector("[id='error-rate.per']:has-text('required')")
    page.fill("[name='rate.limit']", "")
    page.fill("#concurrency", "2")
    page.press("#concurrency", "Enter")
    row = "tr[data-row='customer:17']"
    page.wait_for_selector(f"{row}:has-text('2 at a time'):has-text('set here')")
    page.click("button[aria-label='Pause customer:17']")
    page.fill("#reason", "they asked for it")
    page.press("#reason", "Enter")
    page.wait_for_selector(f"{row}:has-text('by ann'):has-text('they asked for it')")
    is_live(page)
    task = world.send(limits=[{"key": "customer:17"}], queue="of-limits")
    page.wait_for_selector(f"{row} td:nth-child(4):text-is('1')")
    page.click(f"{row} button:has-text('Resume')")
    page.wait_for_selector(f"{row} .status:has-text('active')")
    assert ended(world, task) == "completed"
    # Somebody else changes it while the dialog is open: that is not overruled unseen.
    with page.expect_response(lambda answer: answer.url.endswith("/v1/limits/customer%3A17")):
        page.click("button[aria-label='Set customer:17']")
    world.call("PUT", "/v1/limits/customer:17", {"concurrency": 3})
    page.fill("#concurrency", "9")
    page.press("#concurrency", "Enter")
    page.wait_for_selector("dialog .failure")
    assert world.call("GET", "/v1/limits/customer:17")["limit"]["concurrency"] == 3
    page.keyboard.press("Escape")
    page.wait_for_selector(f"{row}:has-text('3 at a time')")


def test_a_host_that_fails_is_left_alone_by_a_rule_that_is_set_and_removed(world, browser):
    browser.allow("400")
    task = world.send(targetUrl="http://127.0.0.1:9/", maxRetries=0, success="2xx", queue="of-targets")
    world.call("GET", f"/v1/tasks/{task}?wait=20")
    page = browser.signed_in(path="/ui/targets")
    page.fill("[name=host]", "http://127.0.0.1:9/any/path")
    page.press("[name=host]", "Enter")
    page.wait_for_selector("h1:text-is('Target 127.0.0.1:9')")
    page.wait_for_selector("text=Rule: none.")
    page.fill("#failuresInARow", "0")
    page.press("#failuresInARow", "Enter")
    page.wait_for_selector("#error-failuresInARow")
    page.fill("#failuresInARow", "1")
    page.fill("#pause", "1h")
    page.press("#pause", "Enter")
    page.wait_for_selector(".sentence:has-text('open'):has-text('have failed'), .sentence:has-text('open'):has-text('has failed')")
    held = world.send(targetUrl="http://127.0.0.1:9/", maxRetries=0, success="2xx", queue="of-targets")
    page.wait_for_selector("dd:text-is('1 task')")
    page.click("a:text('All hosts with a rule')")
    page.wait_for_selector("tr[data-row='127.0.0.1:9']:has-text('1 failure in a row: rests 1 h at first')")
    page.go_back()
    page.click("button:has-text('Remove the rule')")
    page.wait_for_selector("text=Rule: none.")
    # It is let go, and uses up its only attempt.
    assert ended(world, held) == "failed"


def test_an_operation_is_counted_first_begun_from_a_filter_paused_and_undone(world, browser):
    tasks = [world.send(queue="crowd", delay="1h") for _ in range(3)]
    page = browser.signed_in(path="/ui/tasks?queue=crowd")
    page.click("a:has-text('Cancel…')")
    page.wait_for_selector(".sentence:has-text('3 tasks, in')")
    assert "queue=crowd" in page.url and "action=cancel" in page.url, page.url
    assert page.locator("tbody tr").count() == 3
    page.fill("[name=rate]", "1")
    page.press("[name=rate]", "Enter")
    page.wait_for_selector(".sentence:has-text('3 tasks, in 3 s')")
    page.fill("#reason", "sent by mistake")
    page.press("#reason", "Enter")
    page.wait_for_selector("h1:text-is('Operation')")
    page.wait_for_selector("dd:text-is('sent by mistake')")
    page.wait_for_selector(".sentence:has-text('completed'):has-text('3 of 3 tasks done')")
    assert {world.call("GET", f"/v1/tasks/{task}")["task"]["status"] for task in tasks} == {"cancelled"}
    first = page.url
    page.click("button:has-text('Undo')")
    page.wait_for_selector(".sentence:has-text('Undo')")
    page.wait_for_selector("dt:text-is('Undoes')")
    page.wait_for_selector(".sentence:has-text('completed'):has-text('3 of 3')")
    assert page.url != first
    page.click("a:text('All operations')")
    page.wait_for_selector("tr:has-text('Cancel'):has-text('sent by mistake'):has-text('queue: crowd')")
    begun = world.call("POST", "/v1/operations", {"action": "cancel", "filter": {"queue": ["crowd"], "status": ["delayed"]}, "rate": 1})["operation"]["id"]
    row = f"tr[data-row={begun}]"
    page.wait_for_selector(".fresh")
    page.keyboard.press(".")
    page.wait_for_selector(f"{row} .status:has-text('completed')")


def test_dead_letters_that_match_are_retried_together_and_a_refusal_is_listed(world, browser):
    for _ in range(2):
        dead(world, "mass-grave")
    page = browser.signed_in(path="/ui/dead-letters/list?queue=mass-grave")
    page.click("a:has-text('Retry all that match')")
    page.wait_for_selector(".sentence:has-text('2 tasks, in')")
    page.click("button.primary:has-text('Retry 2 tasks')")
    page.wait_for_selector(".sentence:has-text('Retry'):has-text('2 of 2 tasks done')")
    open_task = world.send(queue="mass-grave", delay="1h")
    refused = world.call("POST", "/v1/operations", {"action": "replay", "ids": [open_task]})["operation"]["id"]
    browser.open(page, f"/ui/operations/{refused}", "h1")
    page.wait_for_selector("h2:text-is('Refused')")
    assert page.locator(f"tr[data-row={open_task}] code").count() >= 1


def test_a_running_operation_is_paused_resumed_and_its_rest_cancelled(world, browser):
    for _ in range(40):
        world.send(queue="long", delay="1h")
    begun = world.call("POST", "/v1/operations", {"action": "cancel", "filter": {"queue": ["long"]}, "rate": 1})["operation"]["id"]
    page = browser.signed_in(path=f"/ui/operations/{begun}")
    page.click("main button:text-is('Pause')")
    page.wait_for_selector(".sentence:has-text('paused')")
    page.click("main button:text-is('Resume')")
    page.wait_for_selector(".sentence:has-text('running')")
    page.click("button:has-text('Cancel the rest')")
    page.wait_for_selector(".sentence:has-text('cancelled')")
    page.wait_for_selector("dd:has-text('cancelled by ann')")
    assert world.call("GET", f"/v1/operations/{begun}")["operation"]["state"] == "cancelled"
    world.call("POST", "/v1/operations", {"action": "cancel", "filter": {"queue": ["long"]}, "rate": 1000})


def test_above_a_hundred_tasks_their_number_has_to_be_typed(world, browser):
    batch = [{"targetUrl": world.sink.url + "/hello", "queue": "hundreds", "delay": "1h"} for _ in range(101)]
    world.call("POST", "/v1/tasks/batch", {"tasks": batch})
    page = browser.signed_in(path="/ui/operations/new?action=cancel&queue=hundreds")
    page.wait_for_selector(".sentence:has-text('101 tasks')")
    assert page.is_disabled("button:text-is('Cancel 101 tasks')")
    page.fill("#typed", "101")
    page.click("button.primary:text-is('Cancel 101 tasks')")
    page.wait_for_selector(".sentence:has-text('101 of 101 tasks done')")


def test_a_queue_is_weighted_given_defaults_and_drained_and_keeps_what_the_form_does_not_touch(world, browser):
    browser.allow("400")
    world.send(queue="tuned", delay="1h")
    page = browser.signed_in(path="/ui/queues/tuned")
    page.fill("[name=weight]", "3")
    page.click("summary:text('Defaults of new tasks')")
    page.fill("[name='defaults.maxRetries']", "99")
    page.press("[name='defaults.maxRetries']", "Enter")
    page.wait_for_selector("[id='error-defaults.maxRetries']")
    page.fill("[name='defaults.maxRetries']", "2")
    page.fill("[name='defaults.retryBackoff']", "1s, 1m")
    page.press("[name='defaults.maxRetries']", "Enter")
    until(page, "!document.querySelector('.field-error') && document.querySelector('[name=weight]').getAttribute('value') === '3'")
    tuned = queue(world, "tuned")
    assert (tuned["weight"], tuned["defaults"]["maxRetries"], tuned["defaults"]["retryBackoff"]) == (3, 2, [1, 60]), tuned
    page.reload()
    page.fill("[name=concurrency]", "4")
    page.press("[name=concurrency]", "Enter")
    until(page, "document.querySelector('[name=concurrency]').getAttribute('value') === '4'")
    again = queue(world, "tuned")
    assert (again["concurrency"], again["weight"], again["defaults"]) == (4, 3, tuned["defaults"]), again
    page.click("button:text-is('Drain')")
    page.fill("#reason", "an upgrade")
    page.press("#reason", "Enter")
    page.wait_for_selector(".sentence .status:text-is('drained')")
    page.wait_for_selector(".sentence:has-text('an upgrade')")
    page.click("main button:has-text('Resume')")
    page.wait_for_selector(".sentence .status:text-is('active')")


def test_the_last_hour_is_on_the_overview_and_on_the_page_of_a_queue(world, browser):
    for _ in range(2):
        task = world.send(queue="counted")
        world.call("GET", f"/v1/tasks/{task}?wait=20")
    dead(world, "counted")
    page = browser.signed_in(path="/ui/queues/counted")
    page.wait_for_selector(".key.accent:text-is('3 tasks accepted')")
    page.wait_for_selector(".key.good:text-is('2 succeeded')")
    page.wait_for_selector(".key.bad:text-is('1 failed')")
    assert "ms" in page.inner_text("tr:has-text('took until their end') td:nth-child(2)")
    browser.open(page, "/ui/", ".chart svg")
    page.wait_for_selector("tr:has-text('waited for their first attempt')")
