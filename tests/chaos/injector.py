"""Faults done to a scene: one function for each kind, which says what it hit and how to mend it."""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import psutil
from marked_processes import marked_processes

from .fault_rules import Rule, Spoil
from .faults import Fault, Kind
from .scene import ON_DISK, Scene
from .train_command import everything_of, signal_all

_S3_SKEW_SECONDS = 840  # S3 refuses requests that are a quarter of an hour off
_DISK_SKEW_SECONDS = 6 * 3600
_SHARE_OF_REQUESTS = 0.3
_LONGEST_CUT_BYTES = 100_000
# Objects alone: no client can tell a bit that was flipped in a listing.
_OBJECTS = r"^[^?]*\.(json|tar|parquet|safetensors)(\?|$)"
UNAVAILABLE, STOPPED, FENCED = 75, 130, 5
KILLED_BY_NOTICE = -signal.SIGTERM  # it came before the driver listened


@dataclass(frozen=True)
class Injected:
    """What a fault did.

    `heard` is false if there was nothing to hit just then. `lift` ends a fault that lasts, and `is_mended`
    tells when its end has come about. `exits` are codes with which a driver may end because of it, after
    which the command is given again.
    """

    heard: bool = True
    lift: Callable[[], None] | None = None
    exits: frozenset[int] = frozenset()
    is_mended: Callable[[], bool] = lambda: True


def inject(scene: Scene, fault: Fault) -> Injected:
    """Do it, at once."""
    return INJECTORS[fault.kind](scene, fault)


def _choose(items: list[int], pick: float) -> list[int]:
    return items[int(pick * len(items)) :][:1]


def _signal_worker(number: signal.Signals, scene: Scene, fault: Fault) -> Injected:
    victims = _choose(scene.current.workers(), fault.pick)
    return Injected(signal_all(victims, number) > 0)


def _signal_workers(number: signal.Signals, scene: Scene, _: Fault) -> Injected:
    return Injected(signal_all(scene.current.workers(), number) > 0)


def _pause(victims: list[int]) -> Injected:
    def wake() -> None:
        signal_all(victims, signal.SIGCONT)

    return Injected(signal_all(victims, signal.SIGSTOP) > 0, wake)


def _pause_worker(scene: Scene, fault: Fault) -> Injected:
    return _pause(_choose(scene.current.workers(), fault.pick))


def _kill_supervisor(scene: Scene, fault: Fault) -> Injected:
    actors = [process.pid for process in marked_processes(scene.mark) if _is_actor(process)]
    return Injected(signal_all(_choose(actors, fault.pick), signal.SIGKILL) > 0)


def _is_actor(process: psutil.Process) -> bool:
    try:
        return "".join(process.cmdline()).startswith("ray::RayTrainWorker")
    except psutil.Error:
        return False


def _scale(scene: Scene, fault: Fault) -> Injected:
    progress = scene.current.progress
    if progress is None:
        return Injected(heard=False)
    limit = scene.ground.configuration.max_workers
    others = [count for count in range(1, limit) if count != progress["workers"]["desired"]]
    (count,) = _choose(others, fault.pick)
    scene.scale(count)
    return Injected()


def _kill_driver(scene: Scene, _: Fault) -> Injected:
    scene.current.kill()
    scene.commands.pop()
    scene.start()
    return Injected()


def _notice_driver(scene: Scene, _: Fault) -> Injected:
    os.kill(scene.current.pid, signal.SIGTERM)
    return Injected(exits=frozenset({STOPPED, KILLED_BY_NOTICE}))


def _pause_driver(scene: Scene, _: Fault) -> Injected:
    return _pause([scene.current.pid])


def _second_driver(scene: Scene, _: Fault) -> Injected:
    scene.start()
    return Injected(exits=frozenset({FENCED}))


def _kill_everything(scene: Scene, _: Fault) -> Injected:
    scene.current.kill_everything()
    scene.commands.pop()
    scene.start()
    return Injected()


def _pause_everything(scene: Scene, _: Fault) -> Injected:
    return _pause(everything_of(scene.mark))


def _notice_everything(scene: Scene, _: Fault) -> Injected:
    signal_all(everything_of(scene.mark), signal.SIGTERM)
    return Injected(exits=frozenset({STOPPED, KILLED_BY_NOTICE}))


def _pause_server(scene: Scene, _: Fault) -> Injected:
    scene.server.pause()
    return Injected(lift=scene.server.wake, exits=frozenset({UNAVAILABLE}))


def _kill_server(scene: Scene, _: Fault) -> Injected:
    scene.server.kill()
    return Injected(
        lift=scene.server.begin_restart,
        exits=frozenset({UNAVAILABLE}),
        is_mended=lambda: scene.server.is_up,
    )


def _spoil(build_rules: Callable[[Fault], Iterable[Rule]], scene: Scene, fault: Fault) -> Injected:
    rules = list(build_rules(fault))
    scene.proxy.set(*rules)

    def lift() -> None:
        for rule in rules:
            scene.proxy.clear_rule(rule.name)

    return Injected(lift=lift, exits=frozenset({UNAVAILABLE}))


def _rule(fault: Fault, spoil: Spoil, direction: str = "response", **fields: object) -> Rule:
    amounts = {"probability": _SHARE_OF_REQUESTS, **fields}
    return Rule(f"{fault.number}-{spoil}-{direction}", spoil, direction, **amounts)  # type: ignore[arg-type]


def _cut_bytes(fault: Fault) -> int:
    return int(fault.pick * _LONGEST_CUT_BYTES)


def _errors(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.STATUS, "request", status=500, code="InternalError")
    yield _rule(fault, Spoil.STATUS, "response", status=502, code="BadGateway")


def _slow_down(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.STATUS, "request", status=503, code="SlowDown")


def _slow(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.LATENCY, "request", seconds=2 * fault.pick)
    yield _rule(fault, Spoil.BANDWIDTH, "request", bytes_per_second=50_000)
    yield _rule(fault, Spoil.BANDWIDTH, "response", bytes_per_second=50_000)


def _resets(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.RESET, "request", bytes=_cut_bytes(fault))
    yield _rule(fault, Spoil.RESET, "response", bytes=_cut_bytes(fault))


def _cuts(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.CUT, "request", bytes=_cut_bytes(fault))
    yield _rule(fault, Spoil.CUT, "response", bytes=_cut_bytes(fault))


def _lost_answers(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.RESET, "response", method="PUT")
    yield _rule(fault, Spoil.CUT, "response", method="DELETE")


def _truncated(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.TRUNCATE, method="GET", path=_OBJECTS, bytes=_cut_bytes(fault))


def _flipped(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.FLIP, method="GET", path=_OBJECTS, bytes=int(fault.pick * 1000))


def _black_hole(fault: Fault) -> Iterable[Rule]:
    yield _rule(fault, Spoil.BLACK_HOLE, "request")


def _fill_disk(scene: Scene, _: Fault) -> Injected:
    if scene.disk is None:
        return Injected(heard=False)
    scene.disk.fill()
    return Injected(lift=scene.disk.empty, exits=frozenset({UNAVAILABLE}))


def _skew_clock(scene: Scene, fault: Fault) -> Injected:
    if scene.clock is None:
        return Injected(heard=False)
    most = _DISK_SKEW_SECONDS if scene.storage == ON_DISK else _S3_SKEW_SECONDS
    scene.clock.skew(round((2 * fault.pick - 1) * most))
    return Injected()


INJECTORS: Mapping[Kind, Callable[[Scene, Fault], Injected]] = {
    Kind.WORKER_KILLED: partial(_signal_worker, signal.SIGKILL),
    Kind.WORKERS_KILLED: partial(_signal_workers, signal.SIGKILL),
    Kind.WORKER_HUNG: partial(_signal_worker, signal.SIGSTOP),
    Kind.WORKERS_HUNG: partial(_signal_workers, signal.SIGSTOP),
    Kind.WORKER_PAUSED: _pause_worker,
    Kind.WORKER_NOTICED: partial(_signal_worker, signal.SIGTERM),
    Kind.WORKERS_NOTICED: partial(_signal_workers, signal.SIGTERM),
    Kind.SUPERVISOR_KILLED: _kill_supervisor,
    Kind.SCALED: _scale,
    Kind.DRIVER_KILLED: _kill_driver,
    Kind.DRIVER_PAUSED: _pause_driver,
    Kind.DRIVER_NOTICED: _notice_driver,
    Kind.SECOND_DRIVER: _second_driver,
    Kind.EVERYTHING_KILLED: _kill_everything,
    Kind.EVERYTHING_PAUSED: _pause_everything,
    Kind.EVERYTHING_NOTICED: _notice_everything,
    Kind.SERVER_PAUSED: _pause_server,
    Kind.SERVER_KILLED: _kill_server,
    Kind.S3_ERRORS: partial(_spoil, _errors),
    Kind.S3_SLOW_DOWN: partial(_spoil, _slow_down),
    Kind.S3_SLOW: partial(_spoil, _slow),
    Kind.S3_RESETS: partial(_spoil, _resets),
    Kind.S3_CUTS: partial(_spoil, _cuts),
    Kind.S3_LOST_ANSWERS: partial(_spoil, _lost_answers),
    Kind.S3_TRUNCATED: partial(_spoil, _truncated),
    Kind.S3_FLIPPED: partial(_spoil, _flipped),
    Kind.S3_BLACK_HOLE: partial(_spoil, _black_hole),
    Kind.DISK_FULL: _fill_disk,
    Kind.CLOCK_SKEWED: _skew_clock,
}
