"""What workers record is what they computed: read by an oracle that knows nothing of training."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sample_audit import audit_history, read_audit, read_chain
from tiny_run import TinyRun, train

NewRun = Callable[..., TinyRun]


def test_each_position_is_computed_once_in_the_accepted_history(new_run: NewRun, tmp_path: Path) -> None:
    run = replace(new_run("run"), environment={"SYNTHRAY_AUDIT_DIRECTORY": str(tmp_path / "audit")})
    assert train(run, num_workers=3, stop_after_steps=1) == "stopped"
    assert train(run, num_workers=2, stop_after_steps=2) == "stopped"
    assert train(run, num_workers=7) == "complete"
    lines = read_audit(tmp_path / "audit")
    assert {(line.attempt, line.world_size) for line in lines} == {(1, 3), (2, 2), (3, 7)}
    verdict = audit_history(lines, read_chain(run.checkpoints().store), images_seen=2 * run.num_train())
    assert verdict.problems == ()
    assert verdict.redone_images == 0


@pytest.mark.timeout(180)
def test_a_kill_takes_nothing_of_the_record(new_run: NewRun, tmp_path: Path) -> None:
    """A process that dies in the middle, and another that goes on from its last save."""
    run, audit = new_run("run"), tmp_path / "audit"
    dies = (
        "import os, signal, sys; from synthray.training import loop, standalone\n"
        "book = loop._Loop._book\n"
        "def die(self, step, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if step == 2 else book(self, step, *rest)\n"
        "loop._Loop._book = die\n"
        "sys.exit(standalone.main())"
    )
    command = [sys.executable, "-c", dies, str(run.file), "--cache", str(run.cache)]
    environment = {**os.environ, "SYNTHRAY_AUDIT_DIRECTORY": str(audit)}
    assert (
        subprocess.run(command, env=environment, capture_output=True, check=False, timeout=170).returncode
        == -9
    )
    assert train(replace(run, environment={"SYNTHRAY_AUDIT_DIRECTORY": str(audit)})) == "complete"
    lines = read_audit(audit)
    chain = read_chain(run.checkpoints().store)
    verdict = audit_history(lines, chain, images_seen=2 * run.num_train())
    assert verdict.problems == ()
    assert [line.step for line in lines if line.attempt == 1] == [0, 1, 2]
    assert verdict.redone_images == 42 - chain[-1][1] if len(chain) == 2 else 42
