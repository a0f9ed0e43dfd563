"""Checks that each example of an OpenAPI document matches its schema. Run by ops/openapi, with the libraries of its validator."""

import json
import sys
from pathlib import Path

from jsonschema import Draft202012Validator


def bodies(operation):
    yield "request", operation.get("requestBody", {})
    yield from operation.get("responses", {}).items()


def main():
    document = json.loads(Path(sys.argv[1]).read_text())
    wrong = looked = 0
    items = [item for part in ("paths", "webhooks") for item in document.get(part, {}).values()]
    shared = {"operationId": "components", "responses": document["components"].get("responses", {})}
    for operation in [shared, *(operation for item in items for operation in item.values())]:
        for part, body in bodies(operation):
            for media_type, content in body.get("content", {}).items():
                # A stream is text; its schema describes a single event.
                if "example" not in content or isinstance(content["example"], str):
                    continue
                looked += 1
                schema = {"allOf": [content["schema"]], "components": document["components"]}
                for error in Draft202012Validator(schema).iter_errors(content["example"]):
                    wrong += 1
                    print(f"{operation['operationId']} {part} {media_type}: {error.json_path}: {error.message[:300]}")
    if looked == 0:
        print("there are no examples")
    sys.exit(wrong > 0 or looked == 0)


main()
