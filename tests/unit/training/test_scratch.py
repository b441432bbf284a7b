"""Who is killed removes nothing; the next driver does, and leaves alone what somebody still uses."""

import os
import time
from fcntl import LOCK_EX, flock
from pathlib import Path

from synthray.training.scratch import open_scratch, prune_worker_logs, remove_abandoned


def leave_behind(parent: Path, name: str, *, age_seconds: float) -> Path:
    folder = parent / name
    (folder / "standby").mkdir(parents=True)
    lock = folder / "driver.lock"
    lock.touch()
    then = time.time() - age_seconds
    os.utime(lock, (then, then))
    return folder


def test_a_folder_lives_as_long_as_its_driver(tmp_path: Path) -> None:
    with open_scratch("run", tmp_path) as folder:
        (folder / "file").write_text("content")
        assert folder.name.startswith("synthray-run-")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_driver_left_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = leave_behind(tmp_path, "synthray-run-dead", age_seconds=100)
    with open_scratch("other", tmp_path):
        assert not dead.exists()


def test_a_folder_in_use_or_just_made_or_of_others_stays(tmp_path: Path) -> None:
    used = leave_behind(tmp_path, "synthray-run-used", age_seconds=100)
    new = leave_behind(tmp_path, "synthray-run-new", age_seconds=1)
    foreign = leave_behind(tmp_path, "pytest-of-somebody", age_seconds=100)
    (tmp_path / "synthray-no-lock").mkdir()
    with (used / "driver.lock").open("r+") as lock:
        flock(lock, LOCK_EX)
        remove_abandoned(tmp_path)
    assert {used, new, foreign, tmp_path / "synthray-no-lock"} == set(tmp_path.iterdir())


def test_logs_of_the_newest_twenty_attempts_are_kept(tmp_path: Path) -> None:
    for attempt in range(1, 24):
        for rank in range(2):
            (tmp_path / f"attempt-{attempt:06d}-rank-{rank}.log").touch()
    for name in ("ray.log", "attempt-of-mine.log"):
        (tmp_path / name).touch()
    prune_worker_logs(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {
        "ray.log",
        "attempt-of-mine.log",
        *(f"attempt-{attempt:06d}-rank-{rank}.log" for attempt in range(4, 24) for rank in range(2)),
    }


def test_a_run_without_logs_is_no_trouble(tmp_path: Path) -> None:
    prune_worker_logs(tmp_path / "none")
