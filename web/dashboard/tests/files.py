"""What the files of the dashboard weigh, and what their pure functions answer."""

import gzip
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "static"
MOST_BYTES = 120 * 1024


def sources():
    """Every file of the working tree, by its path below `static`."""
    return sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())


def served(world):
    """The bytes of every file as a browser gets it, by its path below `static`: of those in the program, the modules of the pages are in one."""
    document = urllib.request.urlopen(f"{world.url}/ui/").read()
    assets = document.decode().split('/main.js"')[0].rpartition('"')[2]
    for name in sources():
        if name == "index.html":
            yield name, document
        elif name.rpartition(".")[2] in ("js", "css", "svg"):
            try:
                yield name, urllib.request.urlopen(f"{world.url}{assets}/{name}").read()
            except urllib.error.HTTPError as error:
                assert error.code == 404, f"{name}: {error}"
        else:
            yield name, (STATIC / name).read_bytes()


def with_sources(world, browser):
    """A page, and the address below which it gets the modules of the working tree, each by itself, as tests need them."""
    page = browser.page()
    address = f"{world.url}/ui/sources"
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}

    def answer(route, request):
        name = request.url.removeprefix(f"{address}/")
        if name == "":
            # Without the page's own scripts, since lit-html may be loaded once only.
            return route.fulfill(body='<div id="app"></div><div id="announcer"></div>', content_type="text/html")
        route.fulfill(body=(STATIC / name).read_bytes(), content_type=kinds[name.rpartition(".")[2]])

    page.route(f"{address}/**", answer)
    page.goto(f"{address}/")
    return page, address


def test_all_files_together_weigh_at_most_120_KiB_compressed(world, browser):
    sizes = {name: len(gzip.compress(data, 9)) for name, data in served(world)}
    print(f"dashboard: {sum(sizes.values())} bytes in {len(sizes)} files, compressed")
    if "WAYBILL_DASHBOARD_FROM" in os.environ:
        return  # the files of a folder are served with their comments, which nobody has to load
    assert sum(sizes.values()) <= MOST_BYTES, sorted(sizes.items(), key=lambda pair: -pair[1])[:5]


def test_pages_are_loaded_in_few_requests(world, browser):
    browser.open(browser.page())
    scripts = [request.url for request in browser.requests if request.url.endswith(".js")]
    # The bundle, what colours the page before, and what others wrote.
    assert len(scripts) < 15 or "WAYBILL_DASHBOARD_FROM" in os.environ, scripts


def test_every_module_can_be_read_by_the_browser(world, browser):
    page, address = with_sources(world, browser)
    names = [name for name in sources() if name.endswith(".js")]
    load = "([address, names]) => Promise.all(names.map((name) => import(`${address}/${name}`).then(() => '', (error) => `${name}: ${error}`)))"
    wrong = [said for said in page.evaluate(load, [address, names]) if said]
    assert len(names) > 80 and wrong == [], "\n".join(wrong)


def test_vendored_files_are_as_their_manifest_says(world, browser):
    checked = subprocess.run([sys.executable, str(HERE.parent / "vendor.py")], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_pure_functions_answer_as_they_should(world, browser):
    page, address = with_sources(world, browser)
    wrong = page.evaluate((HERE / "unit.js").read_text(), address)
    assert wrong == [], "\n".join(wrong)


def test_root_sends_browsers_to_the_pages(world, browser):
    page = browser.page()
    page.goto(world.url + "/")
    assert page.url == world.url + "/ui/", page.url
