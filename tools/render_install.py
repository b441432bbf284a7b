"""manifests/install.yaml: the chart rendered with its defaults, for people without Helm.

Only Helm can render it; the file names the digest of the chart that it was made from, so that a check without
Helm still sees when it is stale.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

NAMESPACE = "synthray-system"
_HEAD = """# synthray without Helm: kubectl apply --server-side --filename install.yaml
# The chart rendered with its defaults. Written by `make docs`; changes made here are lost.
# Made from helm/synthray {digest}
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def digest_chart(chart: Path) -> str:
    """SHA-256 over the names and contents of the chart's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in chart.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(chart)}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()}"


def is_made_from(install: Path, chart: Path) -> bool:
    """Whether the file says that it was made from this very chart."""
    return install.exists() and digest_chart(chart) in install.read_text()


def find_helm() -> str | None:
    """Helm: $HELM, or where the test cluster's programs are, or on PATH."""
    cluster = Path(os.environ.get("SYNTHRAY_CLUSTER", Path.home() / ".cache" / "synthray-cluster"))
    return os.environ.get("HELM") or shutil.which("helm", path=str(cluster / "bin")) or shutil.which("helm")


def render_install(chart: Path, helm: str) -> str:
    """The text of install.yaml."""
    command = [helm, "template", "synthray", str(chart), "--namespace", NAMESPACE, "--skip-tests"]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Nothing here is Helm's.
    rendered = "\n".join(line.rstrip() for line in rendered.splitlines() if "helm.sh/" not in line)
    rendered = rendered.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
    return f"{_HEAD.format(digest=digest_chart(chart), namespace=NAMESPACE)}{rendered}\n"
