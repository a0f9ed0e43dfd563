"""Schedules: what is due when, what became of it, and what people do about them."""

from browser import is_live


def test_a_schedule_is_made_run_paused_changed_and_deleted(world, browser):
    browser.allow("400")
    page = browser.signed_in(path="/ui/schedules")
    page.wait_for_selector("h1:text('Schedules')")
    is_live(page)
    page.click("main .title button")
    page.fill("#name", "Morning report")
    page.fill("#when", "cron(0 25 * * *)")
    page.fill("#task", "{")
    page.press("#when", "Enter")
    page.wait_for_selector("#error-task:has-text('no JSON')")
    page.fill("#task", '{"targetUrl": "%s/report", "json": {"for": "{{run.localTime}}"}}' % world.sink.url)
    page.press("#when", "Enter")
    page.wait_for_selector("#error-when")
    page.fill("#when", "cron(0 9 * * MON-FRI)")
    page.fill("#zone", "Europe/Madrid")
    page.press("#when", "Enter")
    # Made, it is looked at: in words, and by the clocks of its zone.
    page.wait_for_selector("h1:text('Schedule Morning report')")
    page.wait_for_selector(".sentence:has-text('Due at 09:00 on Monday to Friday')")
    assert page.locator("ol li:has-text('09:00:00 by its clocks')").count() == 5
    page.wait_for_selector(".empty:has-text('No run yet')")
    page.click("button:text('Run it now')")
    page.wait_for_selector("tbody tr:has-text('fired'):has-text('completed'):has-text('Somebody asked for it')")
    page.click("main button:has-text('Pause')")
    page.fill("#reason", "a holiday")
    page.press("#reason", "Enter")
    page.wait_for_selector(".sentence:has-text('paused by ann'):has-text('a holiday')")
    page.click("button:text('Resume')")
    page.wait_for_selector(".sentence:has-text('active')")
    # Whoever changes it does not overrule what somebody else has changed meanwhile.
    browser.allow("412")
    schedule = page.url.rpartition("/")[2]
    page.click("main button:has-text('Change')")
    page.wait_for_selector("dialog #when")
    other = {"name": "Evening report", "when": "cron(0 19 * * *)", "task": {"targetUrl": world.sink.url + "/report"}}
    world.call("PUT", f"/v1/schedules/{schedule}", other)
    page.press("#when", "Enter")
    page.wait_for_selector("dialog .failure")
    page.keyboard.press("Escape")
    page.wait_for_selector("h1:text('Schedule Evening report')")
    page.click("main button:has-text('Delete')")
    page.click("dialog button:has-text('Delete it')")
    page.wait_for_selector("h1:text('Schedules')")
    assert all(one["id"] != schedule for one in world.call("GET", "/v1/schedules")["schedules"])


def test_a_schedule_that_repeats_shows_its_runs_as_they_come(world, browser):
    made = world.call("POST", "/v1/schedules", {"name": "Often", "when": "every 1s", "task": {"targetUrl": world.sink.url + "/often"}})
    schedule = made["schedule"]["id"]
    page = browser.signed_in(path=f"/ui/schedules/{schedule}")
    page.wait_for_selector(".sentence:has-text('Due every 1s')")
    # New runs wait until they are asked for.
    page.wait_for_selector(".fresh:has-text('new run')")
    page.keyboard.press(".")
    page.wait_for_selector("tbody tr:has-text('fired')")
    world.call("POST", f"/v1/schedules/{schedule}/pause", {})
    page.wait_for_selector(".sentence:has-text('paused')")
    page.click("a:text('All schedules')")
    page.wait_for_selector("tr:has-text('Often') .outcomes[aria-label*=completed] svg")
    world.call("DELETE", f"/v1/schedules/{schedule}")
