"""kubectl and helm, as people call them, against one cluster."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from synthray.api.yaml_documents import write_yaml


def find_program(name: str) -> str:
    """Where a program is: among those of the test cluster, which fit it, or on PATH."""
    home = Path(os.environ.get("SYNTHRAY_CLUSTER", Path.home() / ".cache" / "synthray-cluster"))
    found = shutil.which(name, path=str(home / "bin")) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is neither in {home / 'bin'} nor on PATH; make cluster-up builds it")
    return found


@dataclass(frozen=True)
class Programs:
    """`kubectl(...)` and `helm(...)` give standard output; CalledProcessError carries the complaint."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self._run("kubectl", *arguments, given=given)

    def helm(self, *arguments: str) -> str:
        return self._run("helm", *arguments)

    def refusal(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl complains of."""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.kubectl(*arguments, given=given)
        return str(caught.value.stderr)

    def _run(self, name: str, *arguments: str, given: str | None = None) -> str:
        try:
            return subprocess.run(
                [find_program(name), *arguments],
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
                input=given,
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            ).stdout
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)
            raise

    def install_kinds(self, kinds: Sequence[Mapping[str, Any]]) -> None:
        """Make the server know these CRDs, as they are now."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=write_yaml(kinds))
        names = [f"crd/{kind['metadata']['name']}" for kind in kinds]
        # kubectl waits for a condition's value, but fails on an object that has no conditions yet.
        self.kubectl("wait", "--for=jsonpath={.status.conditions}", *names)
        self.kubectl("wait", "--for=condition=Established", *names)
        # A kind is established before its storage is; kubectl asks again until it is.
        plurals = ",".join(str(kind["metadata"]["name"]) for kind in kinds)
        self.kubectl("get", plurals, "--all-namespaces")

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace of one's own, which admits restricted pods alone."""
        name = f"test-{uuid4().hex[:8]}"
        self.kubectl("create", "namespace", name)
        self.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")
