"""Asks a service for the same seeds again and again, in a pod of its own; needs Python alone.

Each line of its output tells all so far: answers, failures, and by model the lists of digests that it gave.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

URL, SEEDS, STEPS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
BODY = {"seed": 0, "n": SEEDS, "steps": STEPS, "response_format": "url"}


def ask() -> Any:
    request = urllib.request.Request(
        f"{URL}/v1/images/generations",
        data=json.dumps(BODY).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def main() -> None:
    answers = 0
    failures: list[str] = []
    digests: dict[str, list[list[str]]] = {}
    while True:
        try:
            document = ask()
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


main()
