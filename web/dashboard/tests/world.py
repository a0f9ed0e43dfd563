"""A Waybill for the tests of the dashboard, which can be killed and started again on its port, and the people who use it."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "ops"))

from instance import Sink, announcement, end, free_port  # noqa: E402

PASSWORD = "a phrase of seven plain words"


class World:
    def __init__(self, program, folder):
        self.program = program
        self.folder = folder
        self.log = folder / "waybill.log"
        self.address = f"127.0.0.1:{free_port()}"
        self.process = None
        self.start()
        self.sink = Sink(program, folder)

    def start(self):
        command = [self.program, "up", "--data", str(self.folder / "data"), "--listen", self.address]
        source = os.environ.get("WAYBILL_DASHBOARD_FROM")
        if source:
            command += ["--dashboard-from", str(Path(source).resolve())]
        environment = dict(os.environ, WAYBILL__METRICS_LISTEN="off", WAYBILL__LOG__FILTER="warn,waybill_mail=info")
        with open(self.log, "a") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=self.folder)
        said = announcement(self.process, "curl ", self.did_not_come_up)
        self.url = re.search(r"http://[\d.:]+", said)[0]
        if shown := re.search(r"\w+_live_\w+", said):
            self.key = shown[0]
            self.team = re.search(r"team_\w+", said)[0]

    def did_not_come_up(self, said):
        sys.exit(f"waybill up did not come up:\n{said}{self.log.read_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Ends it as an operator does, so that it writes down what it has counted, and starts it again."""
        end(self.process)
        self.start()

    def stop(self):
        self.sink.stop()
        end(self.process)

    def call(self, method, path, body=None, bearer=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {bearer or self.key}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def send(self, path="/hello", **more):
        """A task that calls the sink; its id."""
        return self.call("POST", "/v1/tasks", {"targetUrl": self.sink.url + path, "method": "POST", **more})["task"]["id"]

    def person(self, name, role):
        """Somebody with an account who belongs to the first team; their address."""
        email = f"{name}@example.com"
        command = [self.program, "teams", "invite", "--email", email, "--role", role]
        environment = dict(os.environ, WAYBILL__DATA=str(self.folder / "data"), WAYBILL__LOG__FILTER="warn")
        said = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.folder)
        tokens = re.findall(r"wb_(?:confirm|inv)_\w+", said.stdout)
        if len(tokens) != 2:
            sys.exit(f"inviting {email} failed: {said.stdout}{said.stderr}")
        session = self.call("POST", "/v1/auth/confirm", {"token": tokens[0], "password": PASSWORD})["accessToken"]
        self.call("POST", "/v1/invitations/accept", {"token": tokens[1]}, session)
        return email

    def session(self, email):
        """An access token of that person."""
        return self.call("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})["accessToken"]

    def link(self):
        """A fresh link that signs the local owner in."""
        environment = dict(os.environ, WAYBILL__LOG__FILTER="warn")
        command = [self.program, "dashboard", "--data", str(self.folder / "data")]
        said = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.folder)
        if "#token=" not in said.stdout:
            sys.exit(f"waybill dashboard prints no link: {said.stdout}{said.stderr}")
        return said.stdout.strip()
