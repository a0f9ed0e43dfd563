"""Queues and dead letters: what waits and why, what failed and by which cause, and what people do about both."""

from browser import is_live, until


def queue(world, name):
    return world.call("GET", f"/v1/queues/{name}")["queue"]


def test_a_queue_is_paused_with_a_reason_and_resumed(world, browser):
    page = browser.signed_in(path="/ui/queues")
    page.wait_for_selector("main table, .empty")
    is_live(page)
    world.send(queue="halted", delay="1h")
    page.wait_for_selector(".fresh:has-text('1 new queue')")
    assert page.locator("tr[data-row=halted]").count() == 0, "the list moved by itself"
    page.keyboard.press(".")
    page.click("button[aria-label='Pause halted']")
    page.fill("#reason", "they are moving")
    page.press("#reason", "Enter")
    page.wait_for_selector("tr[data-row=halted]:has-text('by ann'):has-text('they are moving')")
    assert queue(world, "halted")["pause"]["reason"] == "they are moving"
    page.click("tr[data-row=halted] a.row-link")
    page.wait_for_selector(".sentence:has-text('paused by ann')")
    task = world.send(queue="halted")
    page.wait_for_selector("p:has-text('task that waits longest') [data-kind=queue_paused]")
    assert page.locator("p a:text('task that waits longest')").get_attribute("href").endswith(task)
    page.click("button:has-text('Resume')")
    page.wait_for_selector(".sentence:has-text('active')")
    assert queue(world, "halted")["state"] == "active"
    page.wait_for_selector(f"tr[data-row='{task}'] .status:has-text('completed')")


def test_a_pause_that_ends_by_itself_is_seen_to_end(world, browser):
    browser.allow("400", "404")
    page = browser.signed_in(path="/ui/queues/short")
    page.wait_for_selector(".failure:has-text('Queue not found')")
    world.send(queue="short", delay="1h")
    page.reload()
    page.click("main button:text-is('Pause')")
    page.fill("#until", "2020-01-01T00:00")
    page.press("#until", "Enter")
    page.wait_for_selector("#error-until:has-text('in the future')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    until_when = page.evaluate("new Date(Date.now() + 4000).toISOString()")
    world.call("POST", "/v1/queues/short/pause", {"reason": "a moment", "until": until_when})
    page.wait_for_selector(".sentence:has-text('paused by'):has-text('a moment')")
    page.wait_for_selector(".sentence:has-text('active')")


def test_limits_of_a_queue_are_set_and_refused_beside_their_field(world, browser):
    browser.allow("400")
    world.send(queue="limited", delay="1h")
    page = browser.signed_in(path="/ui/queues/limited")
    page.fill("[name=concurrency]", "5")
    page.fill("[name='rate.limit']", "100")
    page.press("[name='rate.limit']", "Enter")
    page.wait_for_selector("[id='error-rate.per']:has-text('required')")
    assert page.evaluate("document.activeElement.name") == "rate.per"
    page.fill("[name='rate.per']", "1m")
    page.press("[name='rate.per']", "Enter")
    until(page, "document.querySelector('[name=\"rate.burst\"]').value === '1'")
    set_to = queue(world, "limited")
    assert (set_to["concurrency"], set_to["rate"]) == (5, {"limit": 100, "per": 60, "burst": 1}), set_to
    browser.open(page, "/ui/queues", "tr[data-row=limited]:has-text('5 at a time; 100 in 1 min')")
    browser.open(page, "/ui/queues/limited", "[name=concurrency]")
    assert page.input_value("[name='rate.per']") == "1m"
    for name in ["concurrency", "rate.limit", "rate.per", "rate.burst"]:
        page.fill(f"[name='{name}']", "")
    page.press("[name=concurrency]", "Enter")
    browser.open(page, "/ui/queues", "tr[data-row=limited]:has-text('none')")
    assert queue(world, "limited")["rate"] is None
    is_live(page)
