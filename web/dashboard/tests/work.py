"""Tasks and activity: composing, following, cancelling, filtering, going back, saving."""

import csv
import io
import json

from browser import is_live, until


def test_form_and_json_of_the_composer_are_always_in_step(world, browser):
    page = browser.signed_in(path="/ui/tasks/new")
    page.fill("#targetUrl", world.sink.url + "/hello")
    page.select_option("#method", "PUT")
    page.fill("#queue", "mail")
    page.press("#queue", "Tab")
    task = json.loads(page.input_value("#json"))
    assert task == {"targetUrl": world.sink.url + "/hello", "method": "PUT", "queue": "mail"}, task
    page.fill("#json", json.dumps({"targetUrl": "http://other.example/", "tags": ["a", "b"], "unknown": 1}))
    assert page.input_value("#targetUrl") == "http://other.example/"
    assert page.input_value("#tags") == "a, b"
    page.fill("#json", "{")
    page.wait_for_selector("#json-wrong")
    assert page.is_disabled("#targetUrl")


def test_a_task_is_sent_and_followed_to_its_end_without_a_reload(world, browser):
    page = browser.signed_in(path="/ui/tasks/new")
    page.fill("#json", json.dumps({"targetUrl": world.sink.url + "/hello?fail=2", "json": {"a": 1}, "success": "2xx", "retryBackoff": ["1s"], "maxRetries": 3}))
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("h2:text('Planned attempts')")
    page.wait_for_selector(".sentence:has-text('Waits for its next attempt')")
    page.wait_for_selector(".sentence:has-text('Completed after 3 attempts: 200')")
    assert page.locator("tr[data-event] th").all_inner_texts() == ["created", "started", "attempt failed", "started", "attempt failed", "started", "succeeded"]
    assert page.locator(".timeline rect.attempt").count() == 3


def test_what_has_no_effect_or_is_wrong_is_said_beside_its_field(world, browser):
    browser.allow("400")
    page = browser.signed_in(path="/ui/tasks/new")
    page.fill("#json", json.dumps({"targetUrl": world.sink.url, "priority": 99}))
    page.click("button:has-text('Send')")
    page.wait_for_selector("#error-priority")
    page.fill("#json", json.dumps({"targetUrl": world.sink.url, "delayUntill": "x"}))
    page.click("button:has-text('Send')")
    page.wait_for_selector(".failure:has-text('delayUntill')")
    page.uncheck("input[type=checkbox]")
    page.click("button:has-text('Send')")
    page.wait_for_selector(".warnings:has-text('delayUntill')")


def test_a_task_is_cancelled_and_a_webhook_sent_again(world, browser):
    task = world.send(delay="1h", onCompleteUrl=world.sink.url + "/hook")
    page = browser.signed_in(path=f"/ui/tasks/{task}")
    page.click("button:has-text('Cancel')")
    page.wait_for_selector(".sentence:has-text('Cancelled')")
    page.wait_for_selector("dd:has-text('delivered after 1 delivery')")
    page.click("button:has-text('Send the webhook again')")
    until(page, "document.querySelector('main').innerText.split('callback sent').length === 3")


def test_the_back_button_restores_filter_scroll_and_row(world, browser):
    for _ in range(40):
        world.send(queue="many", delay="1h")
    page = browser.signed_in(path="/ui/tasks")
    page.fill("input[name=queue]", "many")
    page.press("input[name=queue]", "Enter")
    page.wait_for_selector("text=40 tasks match")
    row = page.locator("tr[data-row]").nth(30)
    wanted = row.get_attribute("data-row")
    row.locator("a.row-link").scroll_into_view_if_needed()
    scroll = page.evaluate("scrollY")
    assert scroll > 0
    row.locator("a.row-link").press("Enter")
    page.wait_for_selector("h1:has-text('Task …')")
    page.wait_for_selector("tr[data-event]")
    page.go_back()
    page.wait_for_selector("text=40 tasks match")
    assert page.input_value("input[name=queue]") == "many" and "queue=many" in page.url
    until(page, f"scrollY === {scroll} && document.activeElement.closest('[data-row]')?.dataset.row === '{wanted}'")


def test_rows_are_walked_by_keyboard(world, browser):
    world.send(delay="1h")
    world.send(delay="1h")
    page = browser.signed_in(path="/ui/tasks?status=delayed")
    page.wait_for_selector("tr[data-row]")
    for key in "jj":
        page.keyboard.press(key)
    second = page.locator("tr[data-row]").nth(1).get_attribute("data-row")
    assert page.evaluate("document.activeElement.closest('[data-row]').dataset.row") == second
    page.keyboard.press("Enter")
    page.wait_for_selector(f"code:text('{second}')")
    page.keyboard.press("/")
    page.keyboard.press("?")
    page.select_option("dialog label:has-text('shortcuts') select", "off")
    page.click("dialog button:has-text('Close')")
    page.keyboard.press("?")
    assert page.locator("dialog").count() == 0, "shortcuts that are off still work"


def test_a_task_that_a_worker_holds_names_it_and_how_far_it_has_come(world, browser):
    task = world.call("POST", "/v1/tasks", {"queue": "pulled", "json": {"file": "cat.png"}})["task"]["id"]
    page = browser.signed_in(path=f"/ui/tasks/{task}")
    page.wait_for_selector(".sentence:has-text('Waits for a worker that claims it')")
    is_live(page)
    claims = world.call("POST", "/v1/claims", {"queues": ["pulled"], "worker": "shell-1", "wait": 10, "leaseSeconds": 60})["claims"]
    page.wait_for_selector("p:has-text('The worker shell-1 holds it')")
    world.call("POST", f"/v1/claims/{claims[0]['id']}/progress", {"percent": 40, "message": "scaling"})
    page.reload()
    page.wait_for_selector("p:has-text('40 %, scaling')")
    is_live(page)
    world.call("POST", f"/v1/claims/{claims[0]['id']}/complete", {"result": {"pages": 3}})
    page.wait_for_selector(".sentence:has-text('Completed')")
    page.wait_for_selector("tbody td:text-is('shell-1')")


def test_activity_is_filtered_live_and_saved(world, browser):
    page = browser.signed_in(path="/ui/activity")
    page.click(".chip:text-is('Keys')")
    page.wait_for_selector("tbody tr")
    assert "type=key." in page.url
    kinds = set(page.locator("tbody tr td:nth-child(3)").all_inner_texts())
    assert all(kind.startswith("key.") for kind in kinds), kinds
    shown = page.locator("tbody tr").count()
    world.call("POST", f"/teams/{world.team}/apikeys", {"name": "seen at once", "scopes": ["tasks:read"]})
    page.wait_for_selector(".fresh:has-text('1 new')")
    assert page.locator("tbody tr").count() == shown, "the list moved by itself"
    page.keyboard.press(".")
    page.wait_for_selector("tbody tr:first-child:has-text('seen at once')")
    with page.expect_download() as saving:
        page.click("button:has-text('Save as CSV')")
    rows = list(csv.DictReader(io.StringIO(open(saving.value.path()).read())))
    assert rows and all(row["type"].startswith("key.") for row in rows), rows[:2]
    # All of it, without a filter, can be verified offline.
    page.click(".chip:text-is('Everything')")
    page.wait_for_selector(".chip[aria-pressed=true]:text-is('Everything')")
    with page.expect_download() as saving:
        page.click("button:has-text('Save as JSON lines')")
    lines = open(saving.value.path()).read().splitlines()
    assert json.loads(lines[0])["waybillExport"] == 1 and "checkpoint" in json.loads(lines[-1]), lines[0]


def test_overview_counts_and_groups_what_failed(world, browser):
    task = world.send("/hello?fail=9", maxRetries=0, success="2xx")
    world.call("GET", f"/v1/tasks/{task}?wait=20")
    page = browser.signed_in()
    page.wait_for_selector(".sentence:has-text('failed in the last 24 hours')")
    is_live(page)
    world.send()
    page.wait_for_selector(".live-minute:has-text('1 task accepted')")
    page.click("section:has(#failed-title) td a")
    page.wait_for_selector("h1:text('Tasks')")
    assert "status=failed" in page.url and "target=" in page.url, page.url
    page.wait_for_selector("tbody tr")
