"""What a machine makes of a spec, and what stays as the run's first attempt resolved it."""

from pathlib import Path

import pytest
from tiny_run import TinyRun, write_tiny_run

from synthray.api.loading import load_training_run
from synthray.checkpoints.identity import RunIdentity, claim_prefix
from synthray.errors import InvalidInput, Reason
from synthray.storage import S3Settings, open_store
from synthray.training.resolution import ResolvedRun, resolve_run

GPU = "spec.workers.gpu={product: Quadro-RTX-6000}"
TURING, AMPERE = (7, 5), (8, 0)


@pytest.fixture
def run(tmp_path: Path) -> TinyRun:
    return write_tiny_run(tmp_path, "run", str(tmp_path / "prepared"))


def resolve(run: TinyRun, capability: tuple[int, int] | None, *changes: str) -> ResolvedRun:
    return resolve_run(
        load_training_run(run.file, (GPU, *changes)),
        {},
        cache_directory=run.cache,
        compute_capability=capability,
    )


def begin(run: TinyRun, resolved: ResolvedRun) -> None:
    """Claim the prefix, as the first attempt does."""
    identity = RunIdentity(
        run=resolved.settings.run,
        config_digest=resolved.settings.config_digest,
        config=resolved.settings.config,
        dataset_digest="d" * 64,
    )
    claim_prefix(open_store(run.checkpoints_uri, S3Settings()), identity)


def test_auto_stays_what_the_first_attempt_made_of_it_on_a_card_that_can(run: TinyRun) -> None:
    first = resolve(run, TURING)
    assert first.settings.precision == "fp16"
    begin(run, first)
    later = resolve(run, AMPERE)
    assert later.settings.precision == "fp16"
    assert later.settings.config_digest == first.settings.config_digest
    [notice] = later.notices
    assert notice == (
        "spec.optimization.precision=auto stays fp16, as the run's first attempt resolved it; "
        "on this machine alone it would be bf16"
    )
    begin(run, later)


def test_auto_is_refused_on_a_device_that_lacks_what_the_first_attempt_took(run: TinyRun) -> None:
    begin(run, resolve(run, AMPERE))
    with pytest.raises(InvalidInput, match="precision=auto is bf16 in this run") as refused:
        resolve(run, TURING)
    assert refused.value.reason is Reason.PRECISION_UNSUPPORTED
    insisting = resolve(run, TURING, "spec.optimization.precision=bf16")
    assert insisting.settings.precision == "bf16"
    begin(run, insisting)


def test_before_the_first_attempt_auto_is_what_the_device_has(run: TinyRun) -> None:
    assert [resolve(run, capability).settings.precision for capability in (None, TURING, AMPERE)] == [
        "fp32",
        "fp16",
        "bf16",
    ]
