"""The driver of an attempt on a cluster: the process of the head's pod.

It checks before any GPU is taken, drives the segments, and shows from its first second to its last where the
run stands: a result is served until somebody has read it and deletes the pod. No torch here.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from synthray import __version__
from synthray.api.v1alpha1 import TrainingRun
from synthray.checkpoints.manifest import Manifest
from synthray.errors import InvalidInput, Reason, RunFailed, SynthrayError, Unavailable
from synthray.telemetry.exporter import build_exporter
from synthray.telemetry.report import RunSnapshot
from synthray.training.crew import Platform
from synthray.training.decisions import Verdict
from synthray.training.driver import DriverOptions, WantedWorkers
from synthray.training.gpu_products import find_compute_capability
from synthray.training.head_log import HeadLog
from synthray.training.preflight import Preflight, check_run, is_complete, observe_resume_point
from synthray.training.ray_head import RayHead
from synthray.training.resolution import resolve_run
from synthray.training.session import build_first_snapshot, conduct, finish_complete
from synthray.training.settings import STORAGE_TRY_SECONDS, RunSettings
from synthray.training.watch import RunWatch

DEVICE_VARIABLE = "SYNTHRAY_DEVICE"
"""`cpu`: workers compute on the CPU of the GPU nodes that they are on; for GPUs that are names only."""
TERMINATION_LOG = Path("/dev/termination-log")
"""Kubernetes shows what a container leaves here as the message of its end."""

EXIT_STOPPED = 130
_RAY_START_SECONDS = 120.0
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 2.0, 30.0
# Trouble that passes only when a person acts: no reason to keep a GPU waiting.
_FOR_PEOPLE = frozenset({Reason.CREDENTIALS_REJECTED, Reason.STORAGE_FULL})
_ANY_CARD = (0, 0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadOptions:
    """What the pod adds to the run: where to show progress, and how Ray's head is started and found."""

    metrics_host: str
    metrics_port: int
    cache_directory: Path
    quiet_limit_seconds: float
    ray_command: str
    ray_address: str


@dataclass(frozen=True)
class Rest:
    """What the head does when its work is over: the state it shows, its exit code, and whether it stays."""

    state: str
    exit_code: int
    stays: bool


def decide_rest(verdict: Verdict, failure: SynthrayError | None) -> Rest:
    """A result is served until the pod is deleted; trouble that passes ends the attempt, for the next one."""
    if verdict is Verdict.COMPLETE:
        return Rest("Complete", 0, stays=True)
    if failure is None:
        return Rest("Stopped", EXIT_STOPPED, stays=False)
    if isinstance(failure, Unavailable) and failure.reason not in _FOR_PEOPLE:
        return Rest("Failed", failure.exit_code, stays=False)
    if isinstance(failure, RunFailed):
        state = "Fenced" if failure.reason is Reason.FENCED else "Failed"
        return Rest(state, failure.exit_code, stays=True)
    exit_code = InvalidInput.exit_code if isinstance(failure, Unavailable) else failure.exit_code
    return Rest("Blocked", exit_code, stays=True)


def run_head(run: TrainingRun, options: HeadOptions, environ: Mapping[str, str]) -> int:
    """Be the head of one attempt until SIGTERM, or until trouble that passes; returns the exit code."""
    watch, stopping = RunWatch(_blank_snapshot(run)), threading.Event()
    with (
        build_exporter(watch.snapshot, host=options.metrics_host, port=options.metrics_port),
        _ended_by_signals(),
        RayHead(options.ray_command, environ, _die_with_ray) as ray_head,
    ):
        try:
            verdict, failure = _work(run, options, environ, watch=watch, ray_head=ray_head, stopping=stopping)
        except KeyboardInterrupt:
            return EXIT_STOPPED
        rest = decide_rest(verdict, failure)
        if failure is not None:
            watch.set_state(rest.state, str(failure.reason), failure.message)
            _log.error("%s: %s", failure.reason, failure.message)
            leave_last_words(f"{failure.reason}: {failure.message}")
        ray_head.let_go()
        # A signal may have come while the last state was saved or Ray was left.
        if rest.stays and not stopping.is_set():
            _log.info("%s; served on port %d until SIGTERM", rest.state, options.metrics_port)
            _wait_for_signal()
        return rest.exit_code


def block_head(name: str, failure: SynthrayError, options: HeadOptions) -> int:
    """Show what keeps a run from being read at all, until SIGTERM."""
    snapshot = replace(
        RunSnapshot("", name, "", __version__, 0, 0, 0),
        state="Blocked",
        reason=str(failure.reason),
        message=failure.message,
    )
    _log.error("%s: %s", failure.reason, failure.message)
    leave_last_words(f"{failure.reason}: {failure.message}")
    with (
        build_exporter(lambda: snapshot, host=options.metrics_host, port=options.metrics_port),
        _ended_by_signals(),
    ):
        _wait_for_signal()
    return failure.exit_code


def leave_last_words(words: str) -> None:
    """Let `kubectl describe pod` and the operator say why the container ended."""
    if TERMINATION_LOG.is_file() and os.access(TERMINATION_LOG, os.W_OK):
        TERMINATION_LOG.write_text(words[:2048])


@dataclass(frozen=True)
class _Checked:
    """What the preflight found."""

    settings: RunSettings
    preflight: Preflight
    resume_point: Manifest | None
    is_complete: bool


def _work(
    run: TrainingRun,
    options: HeadOptions,
    environ: Mapping[str, str],
    *,
    watch: RunWatch,
    ray_head: RayHead,
    stopping: threading.Event,
) -> tuple[Verdict, SynthrayError | None]:
    """Check, then train; how that ended."""
    try:
        checked = _check_until_storage_answers(run, options, environ, watch)
        driver = _build_driver_options(run, checked.preflight, options, ray_head)
        watch.begin_run(
            build_first_snapshot(checked.settings, checked.preflight, driver, checked.resume_point)
        )
        if checked.is_complete:
            end = finish_complete(watch, driver)
        else:
            watch.set_state("WaitingForWorkers")
            watch.set_desired(driver.min_workers)
            ray_head.wait_listening(options.ray_address)
            wanted = WantedWorkers(driver.num_workers, driver.num_workers)
            end = conduct(
                checked.settings, checked.preflight, driver, watch=watch, wanted=wanted, stopping=stopping
            )
    except SynthrayError as error:
        return Verdict.FAILED, error
    return end.verdict, end.failure


def _check_until_storage_answers(
    run: TrainingRun, options: HeadOptions, environ: Mapping[str, str], watch: RunWatch
) -> _Checked:
    """The preflight, again and again while storage is away; raises what a person must mend."""
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            settings = resolve_for_cluster(run, environ, options.cache_directory)
            preflight = check_run(settings, adopt=False)
            resume_point = observe_resume_point(preflight, frozenset())
            complete = is_complete(settings, preflight, resume_point)
            return _Checked(settings, preflight, resume_point, complete)
        except Unavailable as error:
            if error.reason in _FOR_PEOPLE:
                raise
            _log.warning("waiting for storage: %s", error.message)
            watch.set_state("WaitingForStorage", str(error.reason), error.message)
            threading.Event().wait(pause_seconds)
            pause_seconds = min(_MAX_PAUSE_SECONDS, 2 * pause_seconds)


def resolve_for_cluster(run: TrainingRun, environ: Mapping[str, str], cache_directory: Path) -> RunSettings:
    """The settings for the workers' card, which this pod has not; raises InvalidInput, Unavailable."""
    gpu = run.spec.workers.gpu
    capability = None
    if gpu is not None and environ.get(DEVICE_VARIABLE) != "cpu":
        capability = find_compute_capability(gpu.product) or _ANY_CARD
        if capability == _ANY_CARD and run.spec.optimization.precision == "auto":
            raise InvalidInput(
                f"spec.workers.gpu.product={gpu.product} is no card of which it is known here what `auto` "
                "would be; set spec.optimization.precision to fp32, fp16 or bf16",
                reason=Reason.PRECISION_UNSUPPORTED,
            )
    resolved = resolve_run(
        run, environ, cache_directory=cache_directory, compute_capability=capability
    ).settings
    # Storage that is away is waited for here, so each try ends soon and says so.
    s3 = replace(
        resolved.storage.s3, deadline_seconds=min(resolved.storage.s3.deadline_seconds, STORAGE_TRY_SECONDS)
    )
    return replace(resolved, storage=replace(resolved.storage, s3=s3))


def _build_driver_options(
    run: TrainingRun, preflight: Preflight, options: HeadOptions, ray_head: RayHead
) -> DriverOptions:
    """As many workers as there are nodes for, within the spec's bounds."""
    workers = run.spec.workers
    max_workers = preflight.plan.num_micro_batches
    return DriverOptions(
        namespace=run.metadata.namespace,
        num_workers=min(workers.max_replicas or max_workers, max_workers),
        min_workers=workers.min_replicas,
        backoff_limit=run.spec.backoff_limit,
        quiet_limit_seconds=options.quiet_limit_seconds,
        show=HeadLog().show,
        open_platform=partial(
            _open_platform,
            ray_head=ray_head,
            address=options.ray_address,
            use_gpu=workers.gpu is not None,
        ),
    )


@contextmanager
def _open_platform(
    directory: Path, logs: Path, *, ray_head: RayHead, address: str, use_gpu: bool
) -> Iterator[Platform]:
    from synthray.training.ray_cluster import attached_ray_platform  # noqa: PLC0415 slow, and no check needs it

    with attached_ray_platform(
        directory, logs, address=address, use_gpu=use_gpu, patience_seconds=_RAY_START_SECONDS
    ) as platform:
        ray_head.note_joined()
        yield platform


def _blank_snapshot(run: TrainingRun) -> RunSnapshot:
    """What the spec alone tells."""
    return RunSnapshot(
        namespace=run.metadata.namespace,
        run=run.metadata.name,
        model="",
        version=__version__,
        epochs=run.spec.optimization.epochs,
        images_total=0,
        workers_desired=0,
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as SIGINT does: while nothing is computed, nothing is to be saved."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _wait_for_signal() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _die_with_ray(words: str) -> None:
    """End the attempt from Ray's own watch: what hangs in a call to Ray would hang for a minute."""
    _log.error("%s: %s", Reason.RAY_UNAVAILABLE, words)
    leave_last_words(f"{Reason.RAY_UNAVAILABLE}: {words}")
    sys.stderr.flush()
    os._exit(Unavailable.exit_code)
