"""A browser context of one test, which notes everything that no page may do: foreign requests, CSP reports, errors in the console."""

import os
import time
from pathlib import Path

from world import PASSWORD

# Until something that must happen has happened, in milliseconds.
PATIENCE = 15_000


class Browser:
    def __init__(self, chromium, world):
        self.world = world
        self.context = chromium.new_context(viewport={"width": 1280, "height": 800})
        self.context.set_default_timeout(PATIENCE)
        self.faults = []
        self.allowed = []
        self.requests = []
        # The policy itself reports to the console; this also tells what it was about.
        self.context.add_init_script("addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.violatedDirective, event.blockedURI))")

    def allow(self, *texts):
        """Errors of the console that this test causes on purpose, such as an answer 400."""
        self.allowed += texts

    def page(self):
        page = self.context.new_page()
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("request", self.request)
        return page

    def console(self, message):
        if message.type in ("error", "warning") and not any(text in message.text for text in self.allowed):
            self.faults.append(f"console: {message.text}")

    def request(self, request):
        self.requests.append(request)
        if not request.url.startswith((self.world.url, "data:", "blob:")):
            self.faults.append(f"foreign request: {request.url}")

    def check(self):
        assert not self.faults, self.faults

    def writes(self):
        """Requests that may change something."""
        return [f"{request.method} {request.url}" for request in self.requests if request.method not in ("GET", "HEAD")]

    def open(self, page, path="/ui/", ready="main h1"):
        page.goto(self.world.url + path)
        page.wait_for_selector(ready)
        return page

    def signed_in(self, email=None, path="/ui/"):
        """A page of somebody who has signed in."""
        page = self.open(self.page(), path)
        page.fill("#email", email or self.world.owner)
        page.fill("#password", PASSWORD)
        page.press("#password", "Enter")
        page.wait_for_selector("nav")
        return page

    def keep_picture(self, name):
        folder = os.environ.get("WAYBILL_DASHBOARD_PICTURES")
        for n, page in enumerate(self.context.pages if folder else []):
            page.screenshot(path=Path(folder) / f"failed-{name[5:60]}-{n}.png", full_page=True)

    def close(self):
        self.context.close()


def is_live(page):
    """Waits until the page follows events."""
    page.wait_for_selector(".live[data-phase=live]")


def until(page, holds):
    """Waits until an expression holds. Playwright's own waiting evaluates text in the page, which its policy refuses."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(holds):
        assert time.monotonic() < deadline, f"it never came true: {holds}"
        page.wait_for_timeout(50)
