"""What the files of the dashboard weigh, and what their pure functions answer."""

import gzip
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "static"
MOST_BYTES = 120 * 1024


def served(world):
    """The bytes of every file as a browser gets it, by its path below `static`: those in the program are without comments."""
    document = urllib.request.urlopen(f"{world.url}/ui/").read()
    assets = document.decode().split('/main.js"')[0].rpartition('"')[2]
    names = [str(path.relative_to(STATIC)) for path in sorted(STATIC.rglob("*")) if path.is_file()]
    for name in names:
        if name == "index.html":
            yield name, document
        elif name.rpartition(".")[2] in ("js", "css", "svg"):
            yield name, urllib.request.urlopen(f"{world.url}{assets}/{name}").read()
        else:
            yield name, (STATIC / name).read_bytes()


def test_all_files_together_weigh_at_most_120_KiB_compressed(world, browser):
    sizes = {name: len(gzip.compress(data, 9)) for name, data in served(world)}
    print(f"dashboard: {sum(sizes.values())} bytes in {len(sizes)} files, compressed")
    if "WAYBILL_DASHBOARD_FROM" in os.environ:
        return  # the files of a folder are served with their comments, which nobody has to load
    assert sum(sizes.values()) <= MOST_BYTES, sorted(sizes.items(), key=lambda pair: -pair[1])[:5]


def test_every_module_can_be_read_by_the_browser(world, browser):
    page = browser.open(browser.page())
    assets = page.get_attribute("script[type=module]", "src").removesuffix("/main.js")
    names = [str(path.relative_to(STATIC)) for path in STATIC.rglob("*.js")]
    load = "([assets, names]) => Promise.all(names.map((name) => import(`${assets}/${name}`).then(() => '', (error) => `${name}: ${error}`)))"
    wrong = [said for said in page.evaluate(load, [assets, names]) if said]
    assert len(names) > 80 and wrong == [], "\n".join(wrong)


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
