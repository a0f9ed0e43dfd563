"""Runs the tests of the dashboard; see ops/dashboard-test. A test is a function in one of the modules below; its first line says what is promised."""

import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True  # the modules lie in the tree

from playwright.sync_api import sync_playwright

import accessible
import belongings
import calls
import control
import files
import find
import fleet
import flow
import live
import newcomer
import people
import proven
import recurring
import watch
import work
from browser import Browser
from world import World

# As with the tests in Rust: where nobody watches, one stall of the machine must not cost a whole run. What passes only the second time is said
# to be FLAKY, and is to be mended like a failure.
TRIES = 2 if os.environ.get("NEXTEST_PROFILE") == "ci" else 1

MODULES = [files, newcomer, people, accessible, work, fleet, flow, control, watch, calls, find, recurring, proven, belongings, live]


def tests(wanted):
    for module in MODULES:
        for name, test in list(vars(module).items()):
            if callable(test) and name.startswith("test_") and (not wanted or any(word in name for word in wanted)):
                yield test


def main():
    program, wanted = str(Path(sys.argv[1]).resolve()), sys.argv[2:]
    folder = Path(tempfile.mkdtemp(prefix="waybill-dashboard."))
    passed = failed = 0
    begun = time.monotonic()
    world = World(program, folder)
    try:
        world.owner = world.person("ann", "owner")
        world.viewer = world.person("vic", "viewer")
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.getuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            for test in tests(wanted):
                start = time.monotonic()
                for left in reversed(range(TRIES)):
                    browser = Browser(chromium, world)
                    try:
                        test(world, browser)
                        browser.check()
                        verdict = "ok    " if left == TRIES - 1 else "FLAKY "
                        break
                    except Exception:
                        verdict = "FAILED"
                        traceback.print_exc()
                        browser.keep_picture(test.__name__)
                    finally:
                        browser.close()
                passed += verdict != "FAILED"
                failed += verdict == "FAILED"
                print(f"dashboard: {verdict} {test.__name__[5:].replace('_', ' ')} ({time.monotonic() - start:.1f} s)", flush=True)
            chromium.close()
    finally:
        world.stop()
    if failed:
        print(world.log.read_text()[-3000:])
    shutil.rmtree(folder, ignore_errors=True)
    print(f"dashboard: all in {time.monotonic() - begun:.0f} s")
    print(f"dashboard: {passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


main()
