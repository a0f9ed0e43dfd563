#!/usr/bin/env python3
"""Keeps the libraries of the dashboard, which are part of this tree: static/vendor, described by vendor.json.

    web/dashboard/vendor.py            compares the files with the hashes in vendor.json; needs no network
    web/dashboard/vendor.py --renew    fetches the versions that vendor.json names with npm, and writes files and hashes anew

To take a newer version: change its number in vendor.json, run with --renew, read the diff, run ops/dashboard-test.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "vendor.json"
VENDOR = HERE / "static" / "vendor"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def problems():
    """What of the folder is not as the manifest says."""
    manifest = json.loads(MANIFEST.read_text())
    files = [file for library in manifest["libraries"] for file in library["files"]]
    known = {file["to"]: file["sha256"] for file in [*files, manifest["licences"]]}
    for path in sorted(VENDOR.rglob("*")):
        name = str(path.relative_to(VENDOR))
        if path.is_file() and name not in known:
            yield f"{name} is not in vendor.json"
    for name, wanted in known.items():
        path = VENDOR / name
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256(path.read_bytes()) != wanted:
            yield f"{name} has SHA-256 {sha256(path.read_bytes())}, vendor.json says {wanted}"


def sprite(names, read):
    """One drawing with a symbol for each icon, without what all of them share: the style sheet says that once."""
    symbols = []
    for name in names:
        drawing = read(f"icons/{name}.svg").decode()
        inner = re.search(r"<svg[^>]*>(.*)</svg>", drawing, re.DOTALL)[1]
        lines = [line.strip().replace(" />", "/>") for line in inner.strip().splitlines()]
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{"".join(lines)}</symbol>\n')
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{"".join(symbols)}</svg>\n'.encode()


def keep(file, data):
    """Writes a file, and notes its hash in the manifest."""
    target = VENDOR / file["to"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    file["sha256"] = sha256(data)


def renew():
    """Fetches every library by npm, which checks what it downloads, and writes the files that are used."""
    if shutil.which("npm") is None:
        sys.exit("vendor.py --renew needs npm (Debian: apt-get install npm); checking does not")
    manifest = json.loads(MANIFEST.read_text())
    libraries = manifest["libraries"]
    licences = []
    shutil.rmtree(VENDOR, ignore_errors=True)
    for library in libraries:
        with tempfile.TemporaryDirectory() as work:
            wanted = f"{library['package']}@{library['version']}"
            packed = subprocess.run(["npm", "pack", "--silent", wanted], cwd=work, check=True, capture_output=True, text=True)
            with tarfile.open(Path(work) / packed.stdout.strip().splitlines()[-1]) as archive:
                licences.append(f"{wanted} ({library['licence']})\n\n".encode() + archive.extractfile("package/LICENSE").read())
                for file in library["files"]:
                    read = lambda path: archive.extractfile(f"package/{path}").read()
                    data = sprite(file["icons"], read) if "icons" in file else read(file["from"])
                    keep(file, data)
        print(f"{wanted}: {len(library['files'])} files")
    # In one file, since they have most of their words in common.
    keep(manifest["licences"], b"\n\n".join(licences))
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")


def main():
    if sys.argv[1:] == ["--renew"]:
        renew()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    found = list(problems())
    for problem in found:
        print(f"vendor: {problem}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
