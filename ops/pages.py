#!/usr/bin/env python3
"""Runs the examples in docs/ as a reader would: each is run against a Waybill, and its answer compared with the one on the page.

    ops/pages.py PROGRAM [PAGE...]      PROGRAM is the built `waybill`; PAGE is a file of docs/ (default: all)

A block is run if its fence says so. The blocks of a page run one after the other in one shell, so later ones see the variables that earlier ones set:

    ```sh run          bash; a status of 400 or more from curl fails it
    ```sh refused      the same, for an example of an error: curl must report such a status
    ```python run      python3, with the variables exported by the shell
    ```js run, ts run  node, as a module; TypeScript examples use only what is also valid JavaScript
    ```json output     what the previous block must have printed: more members are allowed, and ... stands for any text
    ```text output     the same for plain text

The shell has what the pages tell a reader to set: API, WAYBILL_KEY and `waybill` on PATH, in a folder whose `data` is that of the
instance. The address of the sink in the pages (port 9000) is replaced by that of the sink started here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # its modules are in the repository

import page_signatures
from instance import ROOT, Server, Sink

DOCS = ROOT / "docs"
# The slowest page waits for a few retries.
PAGE_SECONDS = 120
FENCE = re.compile(r"^```(\w+) (run|refused|output)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CURL_REPORTS_A_STATUS = 22


class Block:
    def __init__(self, page, found):
        line = page.count("\n", 0, found.start()) + 1
        self.language, self.kind, self.code, self.line = found[1], found[2], found[3], line
        self.output = None


def blocks(page):
    """The blocks to run, each with the output shown on the page."""
    wanted = []
    for found in FENCE.finditer(page):
        block = Block(page, found)
        if block.kind == "output":
            wanted[-1].output = block
        else:
            wanted.append(block)
    return wanted


def command(block, number, folder):
    """How the page's shell runs a block; None if its language is not installed."""
    if block.language == "sh":
        return block.code
    program, ending = {"python": ("python3", "py"), "js": ("node", "mjs"), "ts": ("node", "mjs")}[block.language]
    if shutil.which(program) is None:
        return None
    path = folder / f"{number}.{ending}"
    path.write_text(block.code)
    return f"{program} {path}\n"


def fits(shown, seen):
    """Whether the actual output contains everything that the page shows."""
    if isinstance(shown, dict):
        return isinstance(seen, dict) and all(name in seen and fits(value, seen[name]) for name, value in shown.items())
    if isinstance(shown, list):
        return isinstance(seen, list) and len(shown) == len(seen) and all(map(fits, shown, seen))
    if isinstance(shown, str) and "..." in shown:
        return isinstance(seen, str) and text_fits(shown, seen)
    return shown == seen and type(shown) is type(seen)


def text_fits(shown, seen):
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), seen, re.DOTALL) is not None


def output_fits(output, seen):
    if output.language != "json":
        return text_fits(output.code.strip(), seen.strip())
    try:
        return fits(json.loads(output.code), json.loads(seen))
    except ValueError:
        return False


def run(path, server, sink, bin_folder, folder):
    """Runs a page; returns how many of its blocks passed and failed."""
    text = path.read_text().replace("http://127.0.0.1:9000", sink.url).replace("http://127.0.0.1:8080", server.url)
    there = []
    script = ["set -euo pipefail\n"]
    for number, block in enumerate(blocks(text)):
        line = command(block, number, folder)
        if line is None:
            print(f"  {path.name}:{block.line}: skipped, since node is not installed", flush=True)
            continue
        end = f"|| (($? == {CURL_REPORTS_A_STATUS})) && touch {folder}/{number}.refused\n" if block.kind == "refused" else "\n"
        script.append(f"{{\n{line}}} >{folder}/{number}.out 2>{folder}/{number}.err {end}touch {folder}/{number}.done\n")
        there.append((number, block))
    if not there:
        return 0, 0
    environment = dict(os.environ, API=server.url, WAYBILL_KEY=server.key, CURL_HOME=str(folder), PATH=f"{bin_folder}:{os.environ['PATH']}")
    began = time.monotonic()
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\nretry = 5\n")
    try:
        subprocess.run(["bash", "-c", "".join(script)], cwd=server.folder, env=environment, stdin=subprocess.DEVNULL, timeout=PAGE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"  {path.name}: did not end within {PAGE_SECONDS} s", flush=True)
    failed, seconds = 0, time.monotonic() - began
    for number, block in there:
        said, errors = (read(folder / f"{number}.{ending}") for ending in ("out", "err"))
        ended = (folder / f"{number}.done").exists() and (block.kind == "run" or (folder / f"{number}.refused").exists())
        if ended and (block.output is None or output_fits(block.output, said)):
            continue
        failed += 1
        why = "its output differs from the page" if ended else "it failed, or an earlier block did"
        print(f"docs/{path.name}:{block.line}: {why}\n{said}{errors}", flush=True)
    print(f"  {path.name}: {len(there) - failed} passed, {failed} failed, in {seconds:.1f} s", flush=True)
    return len(there) - failed, failed


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""


def check(program, server, folder, names=()):
    """Checks all pages, or those with the given names; returns how many of their examples passed and failed."""
    known = sorted(path.name for path in DOCS.glob("*.md"))
    for name in names:
        if name not in known:
            sys.exit(f"ops/pages.py: there is no page {name} in docs/")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "waybill").symlink_to(Path(program).resolve())
    passed = failed = 0
    sink = Sink(program, folder)
    try:
        for name in names or known:
            with tempfile.TemporaryDirectory(prefix="page.", dir=folder) as place:
                p, f = run(DOCS / name, server, sink, bin_folder, Path(place))
            passed, failed = passed + p, failed + f
            if name == page_signatures.PAGE:
                p, f = page_signatures.check(DOCS / name, server)
                passed, failed = passed + p, failed + f
    finally:
        sink.stop()
    print(f"pages: {passed} passed, {failed} failed", flush=True)
    return passed, failed


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: ops/pages.py PROGRAM [PAGE...]")
    program, names = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="waybill-pages.") as folder:
        server = Server(program, Path(folder))
        try:
            passed, failed = check(program, server, Path(folder), names)
        finally:
            server.stop()
    sys.exit(failed > 0 or passed == 0)


if __name__ == "__main__":
    main()
