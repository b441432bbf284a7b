"""Saving beside training: a real uploader process, a real store, and every way for one of them to end."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.names import TENSOR_PARTS, part_file
from synthray.checkpoints.requests import SaveRequest
from synthray.checkpoints.saver import Saver, SaveResult
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import Reason, RunFailed, Unavailable
from synthray.storage import ObjectStore, S3Settings

if TYPE_CHECKING:
    from tests.integration.checkpoints.conftest import StartSaver

    Save = Callable[[Saver, int], SaveResult]

LOCAL = S3Settings()


def wait_until(condition: Callable[[], bool], what: str, deadline_seconds: float = 30.0) -> None:
    end = time.monotonic() + deadline_seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, what
        pause.wait(0.02)


def check_resumes_at(store: ObjectStore, images_seen: int) -> None:
    checkpoints = CheckpointStore(store)
    manifest = checkpoints.newest_good_state().manifest
    assert manifest is not None
    assert checkpoints.load_progress(manifest) == {"images_seen": images_seen}
    for part in TENSOR_PARTS:
        tensors = checkpoints.load_tensors(manifest, part_file(part))
        assert all((tensor == images_seen).all() for tensor in tensors.values())


def test_what_is_saved_is_loaded_from_any_store(
    store: ObjectStore, s3_settings: S3Settings, start_saver: "StartSaver", save: "Save"
) -> None:
    """One part is larger than a piece of 16 MiB, so that S3 gets it in several."""
    saver = start_saver(store, s3_settings, elements=3_000_000)
    result = save(saver, 7)
    assert result.error is None
    assert (result.state, result.model) == ("000000000007-a000001", "000000000007-a000001")
    assert result.uploaded_bytes > 4 * 24_000_000
    assert result.storage.requests["create", "ok"] == 2
    check_resumes_at(store, 7)


def test_states_of_one_attempt_name_the_one_before(
    local_store: ObjectStore, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(local_store, LOCAL)
    for images_seen in (1, 2, 3):
        save(saver, images_seen)
    parents = [state.parent for state in CheckpointStore(local_store).list_states()]
    assert parents == [None, "000000000001-a000001", "000000000002-a000001"]


def test_the_buffer_is_busy_until_the_upload_is_done(
    local_store: ObjectStore, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(local_store, LOCAL)
    save(saver, 1)
    os.kill(saver.uploader_pid, signal.SIGSTOP)
    results: list[SaveResult] = []
    thread = threading.Thread(target=lambda: results.append(save(saver, 2)))
    thread.start()
    wait_until(lambda: saver.busy, "the save is under way")
    assert saver.begin(0) is False
    assert saver.poll() is None
    os.kill(saver.uploader_pid, signal.SIGCONT)
    thread.join()
    assert results[0].error is None
    assert saver.begin(0) is True


def test_what_asks_the_trainer_to_stop_does_not_stop_its_uploader(
    local_store: ObjectStore, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(local_store, LOCAL)
    save(saver, 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(saver.uploader_pid, number)
    assert save(saver, 2).error is None


def test_a_dead_uploader_costs_the_save_it_was_busy_with_and_no_other(
    local_store: ObjectStore, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(local_store, LOCAL)
    save(saver, 1)
    pid = saver.uploader_pid
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    lost = save(saver, 2)
    assert isinstance(lost.error, Unavailable)
    assert lost.error.message == (
        f"the uploader process {pid} ended with status -9; this save is lost, "
        "the next one starts another uploader"
    )
    assert save(saver, 2).error is None
    check_resumes_at(local_store, 2)


def test_a_store_that_is_away_fails_the_save_and_the_next_try_succeeds(
    tmp_path: Path, start_saver: "StartSaver", save: "Save", local_store: ObjectStore
) -> None:
    saver = start_saver(local_store, LOCAL)
    save(saver, 1)
    states = Path(local_store.uri, "states")
    states.rename(tmp_path / "aside")
    states.write_text("a file where the folder was")
    failed = save(saver, 2)
    assert failed.error is not None
    assert failed.state is None
    states.unlink()
    (tmp_path / "aside").rename(states)
    assert save(saver, 2).error is None
    check_resumes_at(local_store, 2)


def test_an_unreachable_endpoint_is_a_failed_save(
    s3: ObjectStore, s3_settings: S3Settings, start_saver: "StartSaver", save: "Save"
) -> None:
    gone = replace(s3_settings, endpoint_url="http://127.0.0.1:9", deadline_seconds=3.0)
    result = save(start_saver(s3, gone), 1)
    assert isinstance(result.error, Unavailable)
    assert result.storage.retries > 0


def test_a_replaced_attempt_hears_that_it_is_fenced(
    local_store: ObjectStore, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(local_store, LOCAL)
    save(saver, 1)
    begin_attempt(local_store, "another driver", "000000000001-a000001")
    result = save(saver, 2)
    assert isinstance(result.error, RunFailed)
    assert result.error.reason is Reason.FENCED
    check_resumes_at(local_store, 1)


def test_a_value_that_json_would_lose_is_refused_before_it_is_saved(
    local_store: ObjectStore, start_saver: "StartSaver"
) -> None:
    saver = start_saver(local_store, LOCAL)
    assert saver.begin()
    request = SaveRequest(
        images_seen=1, step=1, epoch=0, write_model=False, progress={"loss": float("nan")}, ledger={}
    )
    with pytest.raises(ValueError, match="not JSON compliant"):
        saver.commit(request)
    assert not saver.busy


def test_the_uploader_holds_no_torch_and_shows_no_secret(
    s3: ObjectStore, s3_settings: S3Settings, start_saver: "StartSaver", save: "Save"
) -> None:
    saver = start_saver(s3, s3_settings)
    assert save(saver, 1).error is None
    assert s3_settings.secret_access_key
    process = psutil.Process(saver.uploader_pid)
    assert s3_settings.secret_access_key not in " ".join(process.cmdline())
    libraries = Path(f"/proc/{process.pid}/maps").read_text()
    assert not re.search("torch|numpy|cuda", libraries)


TRAINER = textwrap.dedent("""
    import sys
    from run_contexts import build_context
    from synthray.checkpoints.attempts import begin_attempt
    from synthray.checkpoints.layout import TensorSpec
    from synthray.checkpoints.requests import SaveRequest
    from synthray.checkpoints.saver import Saver
    from synthray.storage import S3Settings, open_store

    context = build_context(begin_attempt(open_store(sys.argv[1], S3Settings()), "driver", None))
    specs = [TensorSpec("a", "float32", (20_000_000,))]
    saver = Saver(
        {"weights": specs, "ema": specs, "optimizer": specs},
        store_uri=sys.argv[1], settings=S3Settings(), context=context,
    )
    images_seen = 0
    while True:
        images_seen += 1
        saver.begin(None)
        for arrays in saver.buffers.values():
            arrays["a"][...] = images_seen
        saver.commit(SaveRequest(
            images_seen=images_seen, step=images_seen, epoch=0, write_model=False,
            progress={"images_seen": images_seen}, ledger={},
        ))
        print(saver.uploader_pid, flush=True)
""")


def list_mapped_buffers() -> set[str]:
    """The inodes of the host buffers that processes map; nameless memory that nobody maps is gone."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            lines = maps.read_text().splitlines()
            found |= {line.split()[4] for line in lines if "memfd:synthray-state" in line}
    return found


def find_buffer(process: psutil.Process) -> str:
    """The inode of the host buffer that an uploader maps."""
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "memfd:synthray-state" in maps.read_text(), "the uploader never mapped the buffer")
    return next(line.split()[4] for line in maps.read_text().splitlines() if "memfd:synthray-state" in line)


@pytest.mark.parametrize("saves", [1, 2], ids=["first save", "second save"])
def test_a_killed_trainer_leaves_no_uploader_no_memory_and_no_half_state(
    local_store: ObjectStore, saves: int
) -> None:
    command = [sys.executable, "-c", TRAINER, local_store.uri]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
        assert trainer.stdout is not None
        uploader = [psutil.Process(int(trainer.stdout.readline())) for _ in range(saves)][-1]
        buffer = find_buffer(uploader)
        assert buffer in list_mapped_buffers()
        trainer.kill()
        trainer.wait()
    wait_until(lambda: not uploader.is_running(), "the uploader outlived its trainer")
    assert buffer not in list_mapped_buffers()
    point = CheckpointStore(local_store).newest_good_state()
    assert point.bad == ()
    if saves > 1:
        assert point.manifest is not None
        check_resumes_at(local_store, point.manifest.images_seen)
