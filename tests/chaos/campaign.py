"""A campaign: runs with faults, one after the other, until there were enough; each one is judged and kept."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from synthray.storage import s3_settings_from_environment

from .configuration import FIRST_SHARE, LAST_SHARE, RAY, Configuration, copy_dataset, describe_dataset
from .faults import MIX, Fault, Kind, Trait
from .measure import measure_faults, measure_rate
from .oracle import judge, observe_end
from .play import Play, RunBroken
from .proxy_process import fault_proxy
from .reference import Reference, find_reference
from .results import RESULTS_NAME, ResultsFile, RunResult, count_faults
from .scene import ON_DISK, ON_S3, Ground, Scene, build_scene
from .schedule import marks_by_progress, marks_by_time, schedule
from .surroundings import Server, why_no_skewed_clock, why_no_small_disk

_SEEDS_APART = 1000
_EVERY_NTH_ON_DISK = 4
_GRACE_SECONDS = {"processes": 20.0, RAY: 120.0}
_S3_KINDS = frozenset(kind for kind in Kind if kind.startswith(("s3_", "server_")))


@dataclass(frozen=True)
class Limits:
    """When a campaign is over, and how its faults are spread."""

    seed: int
    seconds: float
    num_faults: int
    faults_per_run: int
    seconds_between_faults: float | None
    only_seed: int | None
    kinds: frozenset[Kind]


def observe_left_out(through: str) -> dict[Kind, str]:
    """Kinds that can't be injected here, and why."""
    reasons = {Kind.DISK_FULL: why_no_small_disk(), Kind.CLOCK_SKEWED: why_no_skewed_clock()}
    if through != RAY:
        reasons[Kind.SUPERVISOR_KILLED] = "without Ray the driver itself supervises the workers"
    return {kind: why for kind, why in reasons.items() if why}


def plan_storage(seed: int) -> str:
    """Most runs keep their checkpoints in S3, some on a disk."""
    return ON_DISK if seed % _EVERY_NTH_ON_DISK == _EVERY_NTH_ON_DISK - 1 else ON_S3


def plan_mix(storage: str, wanted: frozenset[Kind], left_out: Mapping[Kind, str]) -> dict[Kind, Trait]:
    """The stated mix, less what can't happen to this run."""
    return {
        kind: trait
        for kind, trait in MIX.items()
        if kind in wanted and kind not in left_out and (storage == ON_S3 or kind not in _S3_KINDS)
    }


class Campaign:
    """Plays runs on common ground."""

    def __init__(self, ground: Ground, limits: Limits, left_out: Mapping[Kind, str]) -> None:
        self.left_out = left_out
        self._ground = ground
        self._limits = limits
        self._file = ResultsFile(ground.folder / RESULTS_NAME, ground.configuration)

    @cached_property
    def reference(self) -> Reference:
        """The unbroken run, which is computed unless it is kept in the folder."""
        ground = self._ground
        return find_reference(ground.configuration, ground.dataset_uri, ground.folder)

    def results(self) -> list[RunResult]:
        """All runs so far, those before this start included."""
        return self._file.read()

    def play(self) -> Iterator[RunResult]:
        """Runs until the limits are reached; each one is written down before it is told."""
        started = time.monotonic()
        if self._limits.only_seed is not None:
            yield self._play_run(self._limits.only_seed, self._limits.faults_per_run)
            return
        while True:
            results = self.results()
            missing = self._limits.num_faults - count_faults(results)
            if missing <= 0 or time.monotonic() - started > self._limits.seconds:
                return
            seed = self._limits.seed * _SEEDS_APART + len(results)
            result = self._play_run(seed, min(missing, self._limits.faults_per_run))
            self._file.add(result)
            yield result

    def _play_run(self, seed: int, num_faults: int) -> RunResult:
        storage = plan_storage(seed)
        mix = plan_mix(storage, self._limits.kinds, self.left_out)
        faults = self._plan_faults(seed, mix, num_faults)
        kinds = {fault.kind for fault in faults}
        with build_scene(
            self._ground,
            seed,
            storage=storage,
            with_disk=Kind.DISK_FULL in kinds,
            with_clock=Kind.CLOCK_SKEWED in kinds,
        ) as scene:
            result = self._play_scene(scene, seed, faults)
        if not result.problems:
            shutil.rmtree(scene.folder)
        return result

    def _plan_faults(self, seed: int, mix: Mapping[Kind, Trait], num_faults: int) -> Sequence[Fault]:
        apart = self._limits.seconds_between_faults
        if apart is not None:
            return schedule(seed, mix, marks_by_time(seed, apart, self._limits.seconds))
        images = describe_dataset(self._ground.dataset_uri).num_train * self._ground.configuration.epochs
        return schedule(
            seed, mix, marks_by_progress(seed, num_faults, FIRST_SHARE * images, LAST_SHARE * images)
        )

    def _play_scene(self, scene: Scene, seed: int, faults: Sequence[Fault]) -> RunResult:
        play = Play(scene, faults, by_time=self._limits.seconds_between_faults is not None)
        problems: list[str] = []
        try:
            play.run()
        except RunBroken as broken:
            problems.append(str(broken))
        notes = play.notes
        left = scene.end(grace_seconds=_GRACE_SECONDS[self._ground.configuration.through])
        rate = measure_rate(notes)
        lost, ledger = {}, {}
        if not problems:
            end = observe_end(scene, left)
            problems = judge(end, self.reference.result)
            lost, ledger = dict(end.lost_images), dict(end.ledger)
        if problems:
            _keep_logs(scene)
        return RunResult(
            seed=seed,
            storage=scene.storage,
            problems=tuple(problems),
            faults=measure_faults(notes, rate, lost),
            seconds=round(notes.seconds, 1),
            images_per_second=rate,
            exit_codes=tuple(notes.exit_codes),
            ledger=ledger,
        )


def _keep_logs(scene: Scene) -> None:
    """A small disk goes with the run, and the workers' logs with it."""
    logs = scene.run.cache / "logs"
    if logs.exists():
        shutil.copytree(logs, scene.folder / "logs", dirs_exist_ok=True)


@contextmanager
def open_campaign(
    folder: Path, configuration: Configuration, limits: Limits, dataset_uri: str
) -> Iterator[Campaign]:
    """The ground of a campaign in `folder`, which is continued where it was stopped."""
    with (
        Server(folder / "s3") as server,
        fault_proxy(server.endpoint_url, folder / "proxy.log", seed=limits.seed) as proxy,
    ):
        s3_dataset_uri = f"s3://xray/dataset-{uuid4().hex[:6]}"
        copy_dataset(dataset_uri, s3_dataset_uri, s3_settings_from_environment(server.environment))
        ground = Ground(folder, configuration, dataset_uri, s3_dataset_uri, server, proxy)
        campaign = Campaign(ground, limits, observe_left_out(configuration.through))
        if limits.seconds_between_faults is None:
            _ = campaign.reference
        yield campaign
