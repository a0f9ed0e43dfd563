"""Queues and dead letters: what waits and why, what failed and by which cause, and what people do about both."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from browser import is_live, until


class Patient:
    """A target that fails until it is mended."""

    def __init__(self):
        self.status = 500
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


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
    until_when = page.evaluate("new Date(Date.now() + 12000).toISOString()")
    world.call("POST", "/v1/queues/short/pause", {"reason": "a moment", "until": until_when})
    page.wait_for_selector(".sentence:has-text('paused by'):has-text('a moment')")
    page.wait_for_selector(".sentence:has-text('active')")
    # An end that is far away neither keeps the page from hearing of others, nor makes it read all the time.
    world.call("POST", "/v1/queues/short/pause", {"reason": "for long", "until": "2099-01-01T00:00:00Z"})
    page.wait_for_selector(".sentence:has-text('for long')")
    before = len(browser.requests)
    page.wait_for_timeout(2000)
    assert len(browser.requests) - before < 12, f"{len(browser.requests) - before} requests in two seconds"
    world.call("POST", "/v1/queues/short/resume")
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


def dead(world, queue, **more):
    """A task that has failed for good."""
    task = world.send("/hello?fail=9", **{"success": "2xx", "maxRetries": 0, "queue": queue, **more})
    while (status := world.call("GET", f"/v1/tasks/{task}?wait=5")["task"]["status"]) in ("pending", "processing"):
        pass
    assert status == "failed", status
    return task


def test_dead_letters_are_grouped_and_one_is_tried_again_as_a_probe(world, browser):
    with Patient() as patient:
        for _ in range(2):
            dead(world, "grave", targetUrl=patient.url)
        last = dead(world, "grave", targetUrl=patient.url)
        look_at_graves(world, browser, patient, last)


def look_at_graves(world, browser, patient, last):
    page = browser.signed_in(path="/ui/dead-letters?queue=grave")
    page.wait_for_selector("nav a:has-text('Dead letters') .badge")
    row = f"tr[data-row='{last}']"
    page.wait_for_selector(f"{row}:has-text('HTTP <n> - Internal Server Error')")
    assert page.inner_text(f"{row} td:nth-child(4)") == "3"
    assert page.inner_text(f"{row} td:nth-child(2)") == "500"
    patient.status = 200
    page.click(f"{row} button:has-text('Retry one')")
    page.wait_for_selector(f"{row} .status:has-text('completed')")
    page.click(f"{row} a:has-text('retry the others')")
    page.wait_for_selector("h1:text('Dead letters, one by one')")
    for part in ["queue=grave", "httpStatus=500", "errorContains=", "host=127.0.0.1"]:
        assert part in page.url, page.url
    page.wait_for_selector("tbody tr")
    assert page.locator("tbody tr").count() == 2, "what was tried again is still listed"
    patient.status = 500
    page.locator("tbody button:has-text('Retry')").first.click()
    page.wait_for_selector("td .status:has-text('failed')")
    page.select_option("select[name=retried]", "true")
    page.wait_for_selector(f"{row} a:has-text('Tried as')")


def test_filters_of_dead_letters_are_refused_beside_their_field_and_taken_out_by_chips(world, browser):
    browser.allow("400")
    dead(world, "sifted", tags=["red", "blue"])
    page = browser.signed_in(path="/ui/dead-letters/list?queue=sifted&tag=red")
    page.wait_for_selector("tbody tr")
    page.fill("input[name=httpStatus]", "often")
    page.press("input[name=httpStatus]", "Enter")
    page.wait_for_selector("#error-httpStatus:has-text('a status (503) or a class')")
    assert page.locator(".failure").count() == 0
    page.click(".chip:has-text('Last answer: often')")
    page.wait_for_selector("tbody tr")
    page.fill("input[name=tag]", "red, green")
    page.press("input[name=tag]", "Enter")
    page.wait_for_selector(".empty:has-text('No dead letter matches these filters')")
    page.click("button:has-text('Clear the filters')")
    page.wait_for_selector("tbody tr")
    page.wait_for_selector("text=Looked at")
    assert "sifted" not in page.url
    browser.open(page, "/ui/dead-letters?queue=nothing-there", ".empty:has-text('Nothing is dead')")


def test_tasks_are_found_by_what_went_wrong(world, browser):
    task = dead(world, "found", tags=["red", "blue"])
    world.send(queue="found", delay="1h", tags=["red"])
    page = browser.signed_in(path="/ui/tasks?queue=found")
    page.wait_for_selector("text=2 tasks match")
    for name, value in [("host", world.sink.url.removeprefix("http://")), ("httpStatus", "5xx"), ("errorContains", "internal server"), ("minAttempts", "1"), ("tag", "red,blue")]:
        page.fill(f"input[name={name}]", value)
        page.press(f"input[name={name}]", "Enter")
        page.wait_for_selector(f".chip:has-text('{value}')")
        page.wait_for_selector("text=Looked at")
        if name == "host":
            continue
        page.wait_for_selector("text=1 task match")
        assert page.locator("tbody tr").get_attribute("data-row") == task
        page.fill(f"input[name={name}]", "")
        page.press(f"input[name={name}]", "Enter")
        page.wait_for_selector("text=2 tasks match")


def test_a_task_says_why_it_waits_and_is_run_now(world, browser):
    world.call("POST", "/v1/queues/waiting/pause", {})
    task = world.send(queue="waiting", delay="1h")
    page = browser.signed_in(path=f"/ui/tasks/{task}")
    page.wait_for_selector("p:has-text('Why does it wait?') [data-kind=not_due]:has-text('delayed until then')")
    page.click("button:has-text('Run now')")
    page.wait_for_selector("[data-kind=queue_paused]")
    assert page.locator("button:has-text('Run now')").count() == 0
    world.call("POST", "/v1/queues/waiting/resume")
    page.wait_for_selector(".sentence:has-text('Completed after 1 attempt')")
    assert page.locator("text=Why does it wait?").count() == 0
    world.call("PUT", "/v1/queues/waiting", {"rate": {"limit": 1, "per": "1h"}})
    kinds = {"queue_rate": world.send(queue="waiting")}
    world.call("PUT", "/v1/queues/narrow", {"concurrency": 1})
    world.send("/delay/25s", queue="narrow", orderingKey="a")
    kinds["queue_concurrency"] = world.send(queue="narrow", orderingKey="b")
    kinds["order"] = world.send(queue="narrow", orderingKey="a")
    for kind, waits in kinds.items():
        browser.open(page, f"/ui/tasks/{waits}", f"[data-kind={kind}]")


def test_a_task_is_replayed_with_what_is_changed_and_both_know_each_other(world, browser):
    task = dead(world, "replayed", json={"a": 1}, tags=["kept"])
    page = browser.signed_in(path=f"/ui/tasks/{task}")
    page.click("a:has-text('Replay as new')")
    page.wait_for_selector("h1:text('Replay a task')")
    until(page, "document.querySelector('#queue').value === 'replayed'")
    assert page.input_value("#tags") == "kept" and page.input_value("[aria-label=Body]") == '{\n  "a": 1\n}'
    page.fill("#targetUrl", world.sink.url + "/hello")
    page.click("summary")
    body = page.inner_text(".curl code")
    assert "/replay" in body and "replayed" not in body, body
    page.keyboard.press("Control+Enter") if page.locator("#targetUrl:focus").count() else page.click("button:has-text('Send')")
    page.wait_for_selector(".sentence:has-text('Completed after 1 attempt')")
    page.click("p:has-text('Does again') a")
    page.wait_for_selector("text=Done again as")
    assert page.url.endswith(task), page.url
    new = world.call("GET", f"/v1/tasks/{task}")["task"]["replayedAs"]
    again = world.call("GET", f"/v1/tasks/{new}")["task"]
    assert (again["queue"], again["tags"], again["body"]) == ("replayed", ["kept"], '{"a":1}'), again


def test_a_dead_letter_is_tried_again_from_its_page(world, browser):
    with Patient() as patient:
        task = dead(world, "second-chance", targetUrl=patient.url)
        patient.status = 200
        page = browser.signed_in(path=f"/ui/tasks/{task}")
        page.click("button:has-text('Try it again')")
        page.wait_for_selector(".actions .status:has-text('completed')")
        page.click(".actions a:has-text('Tried as')")
        page.wait_for_selector("text=Does again")
