"""Live lists: they never jump, miss nothing when the server is killed, and share one stream among all tabs."""

from concurrent.futures import ThreadPoolExecutor

from browser import is_live, until


def shown(page):
    """Ids and statuses of the rows, as the page has them."""
    return page.evaluate("[...document.querySelectorAll('tr[data-row]')].map((row) => [row.dataset.row, row.querySelector('.status').innerText.trim().split(',')[0]])")


def told(world, query):
    """The same, as the API has them."""
    return [[task["id"], task["status"]] for task in world.call("GET", f"/v1/tasks?kind=all&limit=50&{query}")["tasks"]]


def wait_until_equal(page, world, query):
    until(page, "!document.querySelector('.fresh')")
    for _ in range(100):
        if shown(page) == told(world, query):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the page shows {shown(page)[:3]}, the API says {told(world, query)[:3]}")


def test_a_list_never_jumps(world, browser):
    for _ in range(3):
        world.send(queue="calm", delay="1h")
    page = browser.signed_in(path="/ui/tasks?queue=calm")
    is_live(page)
    page.wait_for_selector("text=3 tasks match")
    before = shown(page)
    page.keyboard.press("j")
    world.send(queue="calm", delay="1h")
    page.wait_for_selector(".fresh:has-text('1 new task')")
    assert shown(page) == before
    cancelled = before[1][0]
    world.call("POST", f"/v1/tasks/{cancelled}/cancel")
    page.wait_for_selector(f"tr[data-row='{cancelled}'] .status:has-text('cancelled')")
    assert [row for row, _ in shown(page)] == [row for row, _ in before]
    assert page.evaluate("document.activeElement.closest('[data-row]')?.dataset.row") == before[0][0], "the focus was lost"
    page.keyboard.press(".")
    wait_until_equal(page, world, "queue=calm")


def test_news_do_not_disturb_who_types(world, browser):
    page = browser.signed_in(path="/ui/tasks")
    is_live(page)
    page.fill("input[name=queue]", "half a na")
    world.send(queue="news", delay="1h")
    page.wait_for_selector(".fresh")
    assert page.input_value("input[name=queue]") == "half a na"


def test_a_killed_server_leaves_no_gap(world, browser):
    browser.allow("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "503", "500")
    page = browser.signed_in(path="/ui/tasks?queue=killed")
    is_live(page)
    with ThreadPoolExecutor(8) as many:
        list(many.map(lambda _: world.send(queue="killed"), range(20)))
        page.wait_for_selector(".fresh")
        world.kill()
        page.wait_for_selector(".live[data-phase=waiting], .live[data-phase=connecting]")
        world.start()
        list(many.map(lambda _: world.send(queue="killed"), range(20)))
    is_live(page)
    page.wait_for_selector(".fresh")
    for _ in range(150):
        statuses = {status for _, status in told(world, "queue=killed")}
        if statuses == {"completed"}:
            break
        page.wait_for_timeout(100)
    page.keyboard.press(".")
    wait_until_equal(page, world, "queue=killed")
    assert len(shown(page)) == 40


def test_eight_tabs_share_one_stream_and_one_session(world, browser):
    pages = [browser.signed_in(path="/ui/tasks?queue=tabs")]
    pages += [browser.open(browser.page(), "/ui/tasks?queue=tabs", "nav") for _ in range(7)]
    for page in pages:
        is_live(page)
    task = world.send(queue="tabs", delay="1h")
    for page in pages:
        page.wait_for_selector(".fresh:has-text('1 new task')")
    assert streams(browser) == 1, f"{streams(browser)} streams"
    cookies = {cookie["name"] for cookie in browser.context.cookies() if "refresh" in cookie["name"]}
    assert len(cookies) == 1, cookies
    # The tab that reads the stream goes: another takes over where it was, and nothing is missed.
    pages.pop(0).close()
    world.call("POST", f"/v1/tasks/{task}/cancel")
    other = world.send(queue="tabs", delay="1h")
    for page in pages:
        page.wait_for_selector(".fresh:has-text('2 new tasks')")
        page.keyboard.press(".")
        page.wait_for_selector(f"tr[data-row='{other}']")
        page.wait_for_selector(f"tr[data-row='{task}'] .status:has-text('cancelled')")
    assert streams(browser) == 2, "more than one tab took over"


def streams(browser):
    return sum("/v1/events" in request.url for request in browser.requests)


def test_a_paused_page_catches_up(world, browser):
    page = browser.signed_in(path="/ui/tasks?queue=paused")
    is_live(page)
    page.keyboard.press("p")
    page.wait_for_selector(".live.paused")
    world.send(queue="paused", delay="1h")
    page.keyboard.press("p")
    page.wait_for_selector(".fresh:has-text('1 new task')")
