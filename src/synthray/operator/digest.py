"""What a started attempt depends on in its run's spec: if that changes, a new attempt takes over.

Pure. Fields at their defaults are left out, so that a release that adds a field restarts no run.
"""

import hashlib
import json
from typing import Final

from synthray.api.v1alpha1 import TrainingRunSpec

# The operator itself acts on these, or nobody does: an attempt goes on as it was started.
_HEEDED_WHILE_RUNNING: Final = frozenset({"suspend", "backoffLimit", "ttlSecondsAfterFinished"})
_WORKERS_HEEDED_WHILE_RUNNING: Final = frozenset({"replicas", "maxReplicas"})


def digest_spec(spec: TrainingRunSpec) -> str:
    """SHA-256, as hexadecimal text, of what an attempt is started with."""
    document = spec.model_dump(mode="json", exclude_defaults=True)
    wanted = {key: value for key, value in document.items() if key not in _HEEDED_WHILE_RUNNING}
    workers = wanted.pop("workers", {})
    wanted["workers"] = {
        key: value for key, value in workers.items() if key not in _WORKERS_HEEDED_WHILE_RUNNING
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
