"""What a stranger does in the first five minutes, with the built binary and a browser alone."""

import time

from world import World

# Of which the walk itself takes seconds; the rest is for reading.
MOST_SECONDS = 300


def test_a_stranger_sends_is_called_back_fails_retries_and_replays_in_the_browser_alone(world, browser):
    folder = world.folder / "of-a-stranger"
    folder.mkdir()
    browser.world = World(world.program, folder)
    try:
        walk(browser.world, browser)
    finally:
        browser.world.stop()
        browser.world = world


def walk(world, browser):
    begun = time.monotonic()
    page = browser.page()
    page.goto(world.link())
    # Each of the first steps leads to a task that is filled in already.
    for step, shown in [("task", "A call"), ("callback", "A webhook at its end"), ("retry", "A failure that is retried")]:
        page.click("nav a:text-is('Overview')")
        page.click(f"li[data-step={step}] a")
        page.wait_for_selector(f".chip[aria-pressed=true]:text-is('{shown}')")
        page.click("main button:has-text('Send')")
        page.wait_for_selector(".sentence:has-text('Completed')")
        if step == "callback":
            page.wait_for_selector("dd:has-text('delivered after 1 delivery')")
        if step == "retry":
            page.wait_for_selector(".sentence:has-text('after 3 attempts')")
    # One that fails for good, and is done again with another target.
    page.click("nav a:text-is('New task')")
    page.click(".chip:text-is('One that fails for good')")
    page.click("main button:has-text('Send')")
    page.wait_for_selector(".sentence:has-text('Failed after 2 attempts')")
    page.click("a:has-text('Replay as new')")
    page.wait_for_selector("#targetUrl")
    failing = page.input_value("#targetUrl")
    page.fill("#targetUrl", failing.split("?")[0])
    page.click("main button:has-text('Send')")
    page.wait_for_selector(".sentence:has-text('Completed')")
    page.wait_for_selector("p:has-text('Does again')")
    page.click("nav a:text-is('Overview')")
    for step in ["key", "task", "callback", "retry"]:
        page.wait_for_selector(f"li[data-step={step}][data-done=yes]")
    took = time.monotonic() - begun
    print(f"dashboard: a stranger has sent, been called back, failed, retried and replayed after {took:.0f} s")
    assert took < MOST_SECONDS
