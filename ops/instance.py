"""A separate Waybill for a script: `waybill up` on a free port with a folder of its own, and a sink that its tasks can call."""

import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 30
# Requests in any window of a plan.
UNMET_LIMIT = 1_000_000

os.environ.setdefault("WAYBILL_NATS_SERVER", str(ROOT / ".tools" / "nats-server"))


def announcement(process, word, complain):
    """Reads a program's output until it contains `word`."""
    said, until = "", time.monotonic() + START_SECONDS
    while word not in said:
        ready, _, _ = select.select([process.stdout], [], [], max(0, until - time.monotonic()))
        more = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not more:
            complain(said)
        said += more.decode()
    return said


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port():
    """A port below those of outgoing connections (ip(7), ip_local_port_range): one of them, such as that of a client that reconnects, could take it
    before a server listens on it, or while the server is restarted."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """Runs `waybill up` on a port chosen by the system; further settings and plans can be given."""

    def __init__(self, program, folder, configuration="", more_plans="", **more):
        self.folder = folder
        self.log = folder / "waybill.log"
        self.errors = open(self.log, "w")
        # Every limit exists but is too high to be reached: the tests send thousands of requests from one address that are refused.
        plans = folder / "plans.toml"
        plans.write_text(re.sub(r"\bq = [\d_]+", f"q = {UNMET_LIMIT}", (ROOT / "ops" / "plans" / "plans.toml").read_text()) + more_plans)
        settings = folder / "waybill.toml"
        settings.write_text(configuration)
        environment = dict(os.environ, WAYBILL__METRICS_LISTEN="off", WAYBILL__LOG__FILTER="warn", WAYBILL__GATEWAY__PLANS_FILE=str(plans)) | more
        command = [program, "--config", str(settings), "up", "--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, env=environment)
        said = announcement(self.process, "curl ", self.did_not_come_up)
        self.url = re.search(r"http://\S+", said)[0]
        self.team = re.search(r"team_\w+", said)[0]
        self.key = re.search(r"\w+_live_\w+", said)[0]

    def did_not_come_up(self, said):
        self.stop()
        sys.exit(f"waybill up did not come up:\n{said}{self.log.read_text()}")

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def new_key(self, name, scopes):
        return self.call("POST", f"/teams/{self.team}/apikeys", {"name": name, "scopes": scopes})["apiKey"]

    def stop(self):
        end(self.process)
        self.errors.close()


class Sink:
    """Runs `waybill sink` on a port chosen by the system. Its output goes to a file: a pipe that is never read would block it."""

    def __init__(self, program, folder):
        self.log = folder / "sink.log"
        self.said = open(self.log, "w")
        command = [program, "sink", "--port", "0"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.said, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not (found := re.search(r"listens on (http://[\d.]+:\d+)", self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                sys.exit("waybill sink did not come up")
            time.sleep(0.02)
        self.url = found[1]

    def stop(self):
        end(self.process)
        self.said.close()
