"""Asks a service for the same seeds again and again, in a pod of its own; needs Python alone.

With a method and a path it asks that once instead, with a body from standard input, and tells code and
answer. Otherwise each line of its output tells all so far: answers, failures, and by model the lists of
digests that it gave.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

URL, TOKEN = sys.argv[1:3]


def ask(method: str, path: str, body: str) -> Any:
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    request = urllib.request.Request(URL + path, body.encode() or None, headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def ask_once(method: str, path: str) -> None:
    try:
        code, document = 200, ask(method, path, sys.stdin.read())
    except urllib.error.HTTPError as error:
        code, document = error.code, error.read().decode()
    print(json.dumps({"code": code, "answer": document}))


def ask_without_end(seeds: int, steps: int) -> None:
    body = json.dumps({"seed": 0, "n": seeds, "steps": steps, "response_format": "url"})
    answers = 0
    failures: list[str] = []
    digests: dict[str, list[list[str]]] = {}
    while True:
        try:
            document = ask("POST", "/v1/images/generations", body)
        except urllib.error.HTTPError as error:
            failures.append(f"after {answers}: {error.code}: {error.read()[:300]!r}")
        except Exception as error:  # noqa: BLE001 whatever it is, it is told
            failures.append(f"after {answers}: {error!r}")
        else:
            answers += 1
            found = [image["sha256"] for image in document["data"]]
            known = digests.setdefault(document["model"], [])
            if found not in known:
                known.append(found)
        print(json.dumps({"answers": answers, "failures": failures[:10], "digests": digests}), flush=True)
        time.sleep(0.2)


if sys.argv[3].isdigit():
    ask_without_end(int(sys.argv[3]), int(sys.argv[4]))
else:
    ask_once(sys.argv[3], sys.argv[4])
