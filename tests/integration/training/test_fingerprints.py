"""Real segments on machines that differ, as far as their fingerprints tell."""

import itertools
import logging
from collections.abc import Callable

import pytest
from tiny_run import TinyRun, train

from synthray.errors import InvalidInput, Reason
from synthray.training import fingerprints

NewRun = Callable[..., TinyRun]


@pytest.fixture
def unlike_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker computes on another card."""
    cards = itertools.count()
    monkeypatch.setattr(fingerprints, "fingerprint", lambda **_: {"device": f"card {next(cards)}"})


def test_an_exact_run_refuses_unlike_machines(new_run: NewRun, unlike_machines: None) -> None:
    with pytest.raises(
        InvalidInput, match=r"unlike machines.*: device is card \d \(worker \d on "
    ) as refused:
        train(new_run("run"), num_workers=2)
    assert refused.value.reason is Reason.MIXED_FINGERPRINTS


def test_a_statistical_run_warns_of_unlike_machines(
    new_run: NewRun, unlike_machines: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert train(new_run("run"), "spec.reduction=statistical", num_workers=2, stop_after_steps=1)
    assert [record.levelname for record in caplog.records if "unlike machines" in record.message] == [
        "WARNING"
    ]


def test_a_run_that_moved_to_another_kind_of_machine_goes_on_and_is_marked(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run")
    assert train(run, stop_after_steps=1) == "stopped"
    here = dict(run.checkpoints().list_states()[-1].fingerprint)
    monkeypatch.setattr(fingerprints, "fingerprint", lambda **_: {**here, "device": "another card"})
    assert train(run, num_workers=2) == "complete"
    faults = run.checkpoints().list_states()[-1].ledger["faults"]
    (change,) = [fault for fault in faults if fault["kind"] == fingerprints.FINGERPRINT_CHANGED]
    assert change["images_seen"] == 14
    assert change["message"].endswith(f"device was {here['device']} and is another card")
