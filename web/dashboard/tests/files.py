"""What the files of the dashboard weigh, and what their pure functions answer."""

import gzip
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "static"
MOST_BYTES = 120 * 1024


def test_all_files_together_weigh_at_most_120_KiB_compressed(world, browser):
    sizes = {path: len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= MOST_BYTES, sorted(sizes.items(), key=lambda pair: -pair[1])[:5]


def test_vendored_files_are_as_their_manifest_says(world, browser):
    checked = subprocess.run([sys.executable, str(HERE.parent / "vendor.py")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_pure_functions_answer_as_they_should(world, browser):
    page = browser.open(browser.page())
    assets = page.get_attribute("script[type=module]", "src").removesuffix("/main.js")
    wrong = page.evaluate((HERE / "unit.js").read_text(), assets)
    assert wrong == [], "\n".join(wrong)


def test_root_sends_browsers_to_the_pages(world, browser):
    page = browser.page()
    page.goto(world.url + "/")
    assert page.url == world.url + "/ui/", page.url
