"""Measures the dashboard in headless Chromium; see ops/bench/dashboard.

The pages, the session and the list come from a real `waybill up`. Between it and the browser stands a proxy that passes everything on but the stream of
events, which it makes up at a fixed rate: so it is the page that is measured, not how fast this machine runs tasks.
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

sys.dont_write_bytecode = True  # the modules lie in the tree
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "web/dashboard/tests"))

from playwright.sync_api import sync_playwright

from browser import Browser, is_live
from world import World

PAINTS = 7  # loads of which the median counts
FIRST_PAINT_MS = 300
LONGEST_FRAME_MS = 100
HEAP_GROWTH = 0.10
TICK = 0.01  # seconds between two pieces of the stream
SETTLE_MS = 3_000  # before each look at the heap: what is still drawn is no leak
WATCH_FRAMES = """
window.frames_seen = {longest: 0, count: 0, slow: 0};
{
    let last = performance.now();
    const look = (now) => {
        const took = now - last;
        last = now;
        if (window.frames_seen.on) {
            window.frames_seen.count += 1;
            window.frames_seen.slow += took > 50;
            window.frames_seen.longest = Math.max(window.frames_seen.longest, took);
        }
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}
"""


class Flood:
    """What the made-up stream says: so many events a second while it is on, and nothing otherwise."""

    def __init__(self, rate):
        self.rate = rate
        self.on = threading.Event()
        self.tasks = []
        self.sent = 0

    def events(self, first, count):
        """Lives of new tasks, of three events each; every tenth event is about a task that the page shows."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        steps = [("created", "pending", {}), ("started", "processing", {"attempt": 1}), ("succeeded", "completed", {"attempt": 1, "ok": True, "httpStatus": 200})]
        for number in range(first, first + count):
            kind, status, more = steps[number % 3]
            task = f"task_{number // 3:026d}"
            if number % 10 == 0 and self.tasks:
                task = self.tasks[number // 10 % len(self.tasks)]
                kind, status, more = steps[1 + number // 10 % 2]
            event = {"id": number, "type": f"task.{kind}", "taskId": task, "queue": "flood", "status": status, "at": now, "actor": "system:worker", **more}
            yield f"id: {number}\nevent: task.{kind}\ndata: {json.dumps(event)}\n\n"


def proxy(world, flood):
    """A server before `world`."""
    upstream = urlsplit(world.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def handle_any(self):
            connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=60)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "accept-encoding")}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            is_stream = urlsplit(self.path).path == "/v1/events" and answer.status == 200
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            if is_stream:
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                self.flood(answer)
            else:
                content = answer.read()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            connection.close()

        def flood(self, answer):
            # The position at which the real stream begins.
            line = answer.readline().decode()
            position = int(line.split("after=")[1]) + 1
            self.wfile.write(f"{line}id: {position - 1}\n\n".encode())
            self.wfile.flush()
            try:
                while True:
                    flood.on.wait()
                    begun, sent = time.monotonic(), 0
                    while flood.on.is_set():
                        due = int((time.monotonic() - begun) * flood.rate) - sent
                        self.wfile.write("".join(flood.events(position, due)).encode())
                        self.wfile.flush()
                        position, sent, flood.sent = position + due, sent + due, flood.sent + due
                        time.sleep(TICK)
            except OSError:
                pass  # the page has gone

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


# The largest thing that was painted: of the sign-in page its form. The document itself says "Loading" before, which is of no use to anybody.
USEFUL_PAINT = """
() => new Promise((resolve) => {
    const told = (list) => resolve(list.getEntries().at(-1).startTime);
    new PerformanceObserver(told).observe({type: "largest-contentful-paint", buffered: true});
})
"""


def first_paint(chromium, world):
    """Milliseconds from the navigation to the first useful paint, each time in a browser context that knows nothing."""
    times = []
    for _ in range(PAINTS):
        browser = Browser(chromium, world)
        page = browser.open(browser.page(), "/ui/", "#email")
        times.append(page.evaluate(USEFUL_PAINT))
        browser.check()
        browser.close()
    return times


def used_heap(page):
    """Bytes in use after a collection of garbage, once the page has settled."""
    page.wait_for_timeout(SETTLE_MS)
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    devtools.send("HeapProfiler.collectGarbage")
    used = devtools.send("Runtime.getHeapUsage")["usedSize"]
    devtools.detach()
    return used


def frames_of(page, seconds):
    """The frames of so many seconds."""
    page.evaluate("Object.assign(window.frames_seen, {on: true, longest: 0, count: 0, slow: 0})")
    page.wait_for_timeout(seconds * 1000)
    page.evaluate("window.frames_seen.on = false")
    return page.evaluate("window.frames_seen")


def run_flood(page, flood, seconds):
    before = flood.sent
    flood.on.set()
    frames = frames_of(page, seconds)
    flood.on.clear()
    return flood.sent - before, frames


def under_load(chromium, world, flood, seconds):
    browser = Browser(chromium, world)
    browser.context.add_init_script(WATCH_FRAMES)
    page = browser.signed_in(path="/ui/tasks")
    is_live(page)
    flood.tasks = [task["id"] for task in world.call("GET", "/v1/tasks?limit=50")["tasks"]]
    # What a page keeps of any stream, such as the code that was compiled for it, is no leak: the first look comes after a short flood.
    run_flood(page, flood, 3)
    before = used_heap(page)
    calm = frames_of(page, 5)
    sent, frames = run_flood(page, flood, seconds)
    after = used_heap(page)
    browser.check()
    browser.close()
    return sent, calm, frames, before, after


def main():
    parser = argparse.ArgumentParser(prog="ops/bench/dashboard")
    parser.add_argument("program")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=5_000, help="events a second")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="waybill-bench-dashboard."))
    world = World(str(Path(asked.program).resolve()), folder)
    try:
        world.owner = world.person("ann", "owner")
        for _ in range(50):
            world.send(queue="flood", delay="1h")
        flood = Flood(asked.rate)
        direct, world.url = world.url, proxy(world, flood)
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.getuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            sent, calm, frames, before, after = under_load(chromium, world, flood, asked.seconds)
            world.url = direct
            paints = first_paint(chromium, world)
            chromium.close()
    finally:
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    growth = after / before - 1
    rows = [
        ("first useful paint, median of loads with nothing cached", f"{statistics.median(paints):.0f} ms (up to {max(paints):.0f})", f"under {FIRST_PAINT_MS} ms", statistics.median(paints) < FIRST_PAINT_MS),
        ("events a second", f"{sent / asked.seconds:.0f}", f"{asked.rate}", sent >= 0.95 * asked.rate * asked.seconds),
        ("longest frame meanwhile", f"{frames['longest']:.0f} ms ({frames['slow']} of {frames['count']} over 50 ms; without events {calm['longest']:.0f} ms)", f"at most {LONGEST_FRAME_MS} ms", frames["longest"] <= LONGEST_FRAME_MS),
        ("heap before and after", f"{before / 2**20:.1f} and {after / 2**20:.1f} MiB ({growth:+.0%})", f"within {HEAP_GROWTH:.0%}", growth <= HEAP_GROWTH),
    ]
    print("| what | measured | aim | |\n|---|---|---|---|")
    for what, measured, aim, holds in rows:
        print(f"| {what} | {measured} | {aim} | {'reached' if holds else 'missed'} |")
    sys.exit(0 if all(holds for *_, holds in rows) else 1)


main()
