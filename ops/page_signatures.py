"""Runs each snippet of docs/webhooks.md in its language, on calls that a Waybill has really signed and on forgeries of them.

Each line of the cases file is one call, as base64 fields separated by tabs: the secret, the values of four headers (empty if the header is
missing) and the body. For each line a snippet, with the few lines added to it here, prints the results of its two functions.
"""

import base64
import hashlib
import hmac
import http.server
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PAGE = "webhooks.md"
HEADERS = ["x-asyncqueue-signature", "webhook-id", "webhook-timestamp", "webhook-signature"]
CALL_SECONDS = 30
# `go run` compiles Go's standard library the first time.
RUN_SECONDS = 180
TOO_OLD_SECONDS = 301

PYTHON = """
import sys
for line in open(sys.argv[1]):
    secret, *values, body = (base64.b64decode(field) for field in line.rstrip("\\n").split("\\t"))
    headers = {name: value.decode() for name, value in zip(%(headers)s, values) if value}
    print(verify_asyncqueue(secret.decode(), headers, body), verify_standard(secret.decode(), headers, body))
"""
NODE = """
for (const line of require("node:fs").readFileSync(process.argv[2], "utf8").trimEnd().split("\\n")) {
  const [secret, ...fields] = line.split("\\t").map((field) => Buffer.from(field, "base64"));
  const headers = {};
  %(headers)s.forEach((name, i) => { if (fields[i].length) headers[name] = fields[i].toString(); });
  console.log(verifyAsyncqueue(secret.toString(), headers, fields[4]), verifyStandard(secret.toString(), headers, fields[4]));
}
"""
# `java FILE` starts the first class of the file.
JAVA = """
class Cases {
    public static void main(String[] arguments) throws Exception {
        String[] names = %(braced)s;
        for (String line : java.nio.file.Files.readAllLines(java.nio.file.Path.of(arguments[0]))) {
            byte[][] fields = Arrays.stream(line.split("\\t", -1)).map(f -> Base64.getDecoder().decode(f)).toArray(byte[][]::new);
            String secret = new String(fields[0], StandardCharsets.UTF_8);
            Map<String, String> headers = new HashMap<>();
            for (int i = 0; i < names.length; i++)
                if (fields[i + 1].length > 0) headers.put(names[i], new String(fields[i + 1], StandardCharsets.UTF_8));
            System.out.println(Webhooks.verifyAsyncqueue(secret, headers, fields[5]) + " " + Webhooks.verifyStandard(secret, headers, fields[5]));
        }
    }
}
"""
GO = """package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	cases, _ := os.ReadFile(os.Args[1])
	for _, line := range strings.Split(strings.TrimRight(string(cases), "\\n"), "\\n") {
		var fields [][]byte
		for _, field := range strings.Split(line, "\\t") {
			decoded, _ := base64.StdEncoding.DecodeString(field)
			fields = append(fields, decoded)
		}
		headers := http.Header{}
		for i, name := range []string%(braced)s {
			if len(fields[i+1]) > 0 {
				headers.Set(name, string(fields[i+1]))
			}
		}
		secret := string(fields[0])
		fmt.Println(VerifyAsyncqueue(secret, headers, fields[5]), VerifyStandard(secret, headers, fields[5]))
	}
}
"""
RUBY = """
File.foreach(ARGV[0], chomp: true) do |line|
  secret, *values, body = line.split("\\t", -1).map { |field| field.unpack1("m0") }
  headers = %(headers)s.zip(values.map { |value| value.force_encoding("UTF-8") }).reject { |_, value| value.empty? }.to_h
  puts "#{verify_asyncqueue(secret, headers, body)} #{verify_standard(secret, headers, body)}"
end
"""
PHP = """
foreach (file($argv[1], FILE_IGNORE_NEW_LINES) as $line) {
    $fields = array_map('base64_decode', explode("\\t", $line));
    $headers = array_filter(array_combine(%(headers)s, array_slice($fields, 1, 4)), fn($value) => $value !== '');
    $said = [verify_asyncqueue($fields[0], $headers, $fields[5]), verify_standard($fields[0], $headers, $fields[5])];
    echo implode(' ', array_map('json_encode', $said)), "\\n";
}
"""


def python_program(code):
    return {"verify.py": code + PYTHON % {"headers": HEADERS}}, ["python3", "verify.py"]


def node_program(code):
    return {"verify.js": code + NODE % {"headers": HEADERS}}, ["node", "verify.js"]


def java_program(code):
    imports, classes = code.split("\nclass ", 1)
    cases = JAVA % {"braced": braced()}
    return {"Verify.java": f"{imports}\n{cases}\nclass {classes}"}, ["java", "Verify.java"]


def go_program(code):
    return {"verify.go": code.replace("package webhooks", "package main"), "cases.go": GO % {"braced": braced()}}, ["go", "run", "verify.go", "cases.go"]


def ruby_program(code):
    return {"verify.rb": code + RUBY % {"headers": HEADERS}}, ["ruby", "-W", "verify.rb"]


def php_program(code):
    return {"verify.php": code + PHP % {"headers": HEADERS}}, ["php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", "verify.php"]


def braced():
    return "{" + ", ".join(f'"{name}"' for name in HEADERS) + "}"


PROGRAMS = {"python": python_program, "javascript": node_program, "java": java_program, "go": go_program, "ruby": ruby_program, "php": php_program}


class Receiver:
    """A target that records the calls it receives: headers by lower-case name, and the body's bytes. It answers with a body without a type."""

    def __init__(self, answer=b""):
        self.calls = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
                self.calls.put(({name.lower(): value for name, value in handler.headers.items()}, body))
                handler.send_response_only(200)
                handler.send_header("content-length", str(len(answer)))
                handler.end_headers()
                handler.wfile.write(answer)

            do_GET = do_POST

            def log_message(handler, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.calls.get(timeout=CALL_SECONDS)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def really_signed(server):
    """Calls signed by a worker, each with the secrets used: with text, bytes or no body, a completion webhook, and one with two secrets at once."""
    receiver = Receiver()
    try:
        def called(task):
            server.call("POST", "/v1/tasks", {"targetUrl": receiver.url, **task})
            return receiver.next()

        first = server.call("GET", "/v1/signing-secret")["signingSecret"]["secret"]
        calls = [
            (called({"json": {"order": 17, "to": "Zoë"}}), [first]),
            (called({"body": base64.b64encode(bytes(range(256))).decode(), "bodyEncoding": "base64"}), [first]),
            (called({"method": "GET", "onCompleteUrl": receiver.url}), [first]),
            (receiver.next(), [first]),
        ]
        second = server.call("POST", "/v1/signing-secret/rotate", {"overlapSeconds": 3600})["signingSecret"]["secret"]
        # The worker learns of it within moments.
        until = time.monotonic() + CALL_SECONDS
        while len((both := called({"json": 17}))[0]["webhook-signature"].split(" ")) < 2:
            if time.monotonic() > until:
                raise TimeoutError("calls are still signed with the first secret alone")
        return [*calls, (both, [first, second])]
    finally:
        receiver.stop()


def aged(secret, headers, body):
    """The same call, signed correctly but too long ago. The signatures are computed here, after a check that the computation matches the real ones."""
    key = base64.b64decode(secret.removeprefix("whsec_"))

    def signed(time):
        text = hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
        standard = hmac.new(key, f"{headers['webhook-id']}.{time}.".encode() + body, hashlib.sha256).digest()
        return f"t={time},v1={text}", "v1," + base64.b64encode(standard).decode()

    now = headers["webhook-timestamp"]
    assert signed(now) == (headers["x-asyncqueue-signature"], headers["webhook-signature"]), "this signs otherwise than the worker does"
    old = str(int(now) - TOO_OLD_SECONDS)
    asyncqueue, standard = signed(old)
    return {**headers, "x-asyncqueue-signature": asyncqueue, "webhook-timestamp": old, "webhook-signature": standard}


def cases(server):
    """Lines for the snippets, and the two results expected for each."""
    all_of_them = []

    def add(right, secret, headers, body):
        values = [headers.get(name, "") for name in HEADERS]
        fields = [field.encode() for field in (secret, *values)] + [body]
        all_of_them.append(("\t".join(base64.b64encode(field).decode() for field in fields), right))

    signed = really_signed(server)
    for (headers, body), secrets in signed:
        for secret in secrets:
            add("true true", secret, headers, body)
        add("false false", secrets[0], headers, body + b" ")
    (headers, body), (secret,) = signed[0]
    other = signed[-1][1][1]
    add("false false", other, headers, body)
    add("false false", secret, aged(secret, headers, body), body)
    add("true false", secret, {**headers, "webhook-id": "task_another"}, body)
    add("false false", secret, {}, body)
    # Malformed and forged calls must be refused, and must not crash a receiver.
    now, nothing = headers["webhook-timestamp"], "0" * 64
    for t, v1 in [("", ""), ("soon", nothing), (now, ""), (now, "é" * 64), (now, "é" + nothing[2:]), ("9" * 400, nothing), (now, nothing + "=,,=")]:
        add("false false", secret, {**headers, "x-asyncqueue-signature": f"t={t},v1={v1}", "webhook-timestamp": t, "webhook-signature": f"v1,{v1}"}, body)
    add("false false", secret, {**headers, "x-asyncqueue-signature": "nonsense", "webhook-signature": "nonsense"}, body)
    return all_of_them


def snippet(page, language):
    return page.split(f"```{language}\n", 1)[1].split("\n```", 1)[0] + "\n"


def check(path, server):
    """How many languages passed and failed. A language whose runtime is not installed is skipped with a message."""
    page, passed, failed = path.read_text(), 0, 0
    lines, right = zip(*cases(server))
    with tempfile.TemporaryDirectory(prefix="waybill-signatures.") as folder:
        folder = Path(folder)
        (folder / "cases").write_text("\n".join(lines) + "\n")
        for language, program in PROGRAMS.items():
            files, command = program(snippet(page, language))
            # `java` can compile and run a file only if it was installed with the compiler.
            needed = {"java": "javac"}.get(command[0], command[0])
            if shutil.which(needed) is None:
                print(f"  {path.name}: skipped the snippet in {language}, since {needed} is not installed", flush=True)
                continue
            for name, code in files.items():
                (folder / name).write_text(code)
            try:
                done = subprocess.run([*command, "cases"], cwd=folder, env=dict(os.environ, GO111MODULE="off"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_SECONDS)
                # Java prints a notice when it takes options from the environment; that is not an error.
                errors = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("Picked up "))
                said = done.stdout.lower().splitlines()
            except subprocess.TimeoutExpired:
                said, errors = [], f"it did not end within {RUN_SECONDS} s"
            if said == list(right) and not errors:
                passed += 1
                continue
            failed += 1
            wrong = [f"case {n}: {got} instead of {wanted}" for n, (got, wanted) in enumerate(zip(said, right)) if got != wanted]
            print(f"docs/{path.name}: the snippet in {language}: {len(said)} of {len(right)} cases judged; {'; '.join(wrong)}\n{errors}", flush=True)
    print(f"  {path.name}: {passed} languages passed, {failed} failed, {len(right)} calls each", flush=True)
    return passed, failed
