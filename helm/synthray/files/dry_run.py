"""What `helm test` runs in a pod: the API server takes a good run and refuses a bad one. Creates nothing.

Standard library only; it reads the pod's own token and asks for a dry run.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def main() -> int:
    """0 if both answers are the right ones."""
    good = json.loads(Path(sys.argv[1]).read_text())
    status, message = dry_run(good)
    print(f"a run like {sys.argv[1]}: HTTP {status} {message}")
    bad = {**good, "spec": {**good["spec"], "workers": {"replicas": 0}}}
    refused, complaint = dry_run(bad)
    print(f"the same with no worker: HTTP {refused} {complaint}")
    return 0 if status == 201 and refused == 422 and "spec.suspend: true" in complaint else 1


def dry_run(run: dict) -> tuple[int, str]:
    """The API server's answer to the creation of a run that it is not to store."""
    namespace = (ACCOUNT / "namespace").read_text()
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    request = urllib.request.Request(  # noqa: S310 the API server
        f"{server}/apis/synthray.io/v1alpha1/namespaces/{namespace}/trainingruns?dryRun=All",
        data=json.dumps(run).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/json",
        },
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:  # noqa: S310
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()).get("message", "")


if __name__ == "__main__":
    sys.exit(main())
