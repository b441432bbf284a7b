"""A run with its faults, from start to end: wait for the mark, inject, watch, give the command again, go on.

It only plays and takes notes; whether the run ended as it should is the oracle's to say.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .faults import ENDS_SEGMENT, Fault
from .injector import UNAVAILABLE, Injected, inject
from .scene import Scene
from .timeline import (
    Sample,
    build_sample,
    caught_up_at,
    first_step_at,
    newest_attempt,
    reached,
    reached_before,
)

_LOOK_SECONDS = 0.1
_SETTLING_IMAGES = 80
_RAY_DEADLINE_SECONDS, _DEADLINE_SECONDS = 300.0, 120.0


class RunBroken(Exception):
    """The run did what it never should; the message says what."""


@dataclass
class PlayedFault:
    """A fault that was injected: when, and where the run stood just before."""

    fault: Fault
    injected: Injected
    at_seconds: float
    first_sample: int
    attempt_before: int
    images_before: int
    mended_at: float
    lifts_at: float | None
    recovered_at: float | None = None
    overlapped: bool = False


@dataclass
class Notes:
    """What was seen of a run."""

    samples: list[Sample] = field(default_factory=list)
    played: list[PlayedFault] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    trained_from: float | None = None

    @property
    def seconds(self) -> float:
        """Since the run was started."""
        return time.monotonic() - self.started


class Play:
    """Plays a schedule on a scene; `by_time` says that its marks are seconds since the first step."""

    def __init__(self, scene: Scene, faults: Sequence[Fault], *, by_time: bool = False) -> None:
        self._scene = scene
        self._faults = faults
        self._by_time = by_time
        self._complete = False
        self._open: list[PlayedFault] = []
        configuration = scene.ground.configuration
        base = _DEADLINE_SECONDS if configuration.through == "processes" else _RAY_DEADLINE_SECONDS
        self._deadline_seconds = base + 2 * configuration.hang_after_seconds
        self.notes = Notes()

    def run(self) -> Notes:
        """Until the run is complete; raises RunBroken, after which `notes` tell how far it came."""
        self._scene.start()
        for fault in self._faults:
            if not fault.overlaps:
                self._wait_for(self._all_recovered, f"to recover before fault {fault.number}")
            self._wait_for_mark(fault)
            if self._complete:
                break
            self._inject(fault)
        self._wait_for(self._all_recovered, "to recover from the last fault")
        self._wait_while_it_moves(lambda: False, "to end")
        return self.notes

    def _wait_for_mark(self, fault: Fault) -> None:
        settled = 0 if fault.overlaps else reached(self.notes.samples, self.notes.seconds) + _SETTLING_IMAGES
        self._wait_while_it_moves(
            lambda: self._is_past(fault.mark) and reached(self.notes.samples, self.notes.seconds) >= settled,
            f"for the mark of fault {fault.number}",
        )
        due = self.notes.seconds + fault.delay_seconds
        self._wait_for(lambda: self.notes.seconds >= due, "for a moment")

    def _is_past(self, mark: float) -> bool:
        if self._by_time:
            trained_from = self.notes.trained_from
            return trained_from is not None and self.notes.seconds - trained_from >= mark
        return bool(self.notes.samples) and self.notes.samples[-1].images_seen >= mark

    def _inject(self, fault: Fault) -> None:
        notes = self.notes
        now = notes.seconds
        for earlier in self._open:
            earlier.overlapped = True
        attempt, images = newest_attempt(notes.samples, now), reached(notes.samples, now)
        injected = inject(self._scene, fault)
        played = PlayedFault(
            fault=fault,
            injected=injected,
            at_seconds=now,
            first_sample=max(0, len(notes.samples) - 1),
            attempt_before=attempt,
            images_before=images,
            mended_at=now,
            lifts_at=now + fault.lasts_seconds if injected.lift else None,
            overlapped=bool(self._open),
        )
        notes.played.append(played)
        self._open.append(played)

    def _wait_while_it_moves(self, condition: Callable[[], bool], what: str) -> None:
        """Wait however long, as long as new images are seen."""
        while not self._complete and not condition():
            images = reached(self.notes.samples, self.notes.seconds)
            self._wait_for(
                lambda images=images: (  # type: ignore[misc]
                    condition() or reached(self.notes.samples[-1:], self.notes.seconds) > images
                ),
                what,
            )

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Look again and again; raises RunBroken at the deadline, which stands still while a fault lasts."""
        deadline = time.monotonic() + self._deadline_seconds
        while not self._complete and not condition():
            if any(played.lifts_at is not None for played in self._open):
                deadline = time.monotonic() + self._deadline_seconds
            if time.monotonic() > deadline:
                raise RunBroken(f"hung: waited {self._deadline_seconds:.0f} s {what}")
            self._look()
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        self._lift_what_is_due()
        self._mind_ends()
        told = [progress for command in self._scene.commands if (progress := command.look()) is not None]
        if told:
            newest = max(told, key=lambda progress: int(progress["attempt"]))
            self._note(build_sample(self.notes.seconds, newest))
        now = self.notes.seconds
        for played in [played for played in self._open if self._has_recovered(played)]:
            played.recovered_at = now
            self._open.remove(played)

    def _note(self, sample: Sample) -> None:
        samples = self.notes.samples
        if samples and (sample.attempt, sample.images_seen, sample.state, sample.workers) == (
            (last := samples[-1]).attempt,
            last.images_seen,
            last.state,
            last.workers,
        ):
            return
        samples.append(sample)
        if self.notes.trained_from is None and sample.images_seen > 0:
            self.notes.trained_from = sample.seconds

    def _lift_what_is_due(self) -> None:
        for played in self._open:
            if played.lifts_at is not None and self.notes.seconds >= played.lifts_at:
                played.lifts_at, played.mended_at = None, self.notes.seconds
                if played.injected.lift is not None:
                    played.injected.lift()

    def _mind_ends(self) -> None:
        """Give the command again where that is a fault's consequence; anything else is none."""
        scene = self._scene
        for command in list(scene.commands):
            code = command.exit_code
            if code is None:
                continue
            scene.commands.remove(command)
            self.notes.exit_codes.append(code)
            if code == 0:
                self._complete = not scene.commands
            elif code not in self._allowed_exits():
                raise RunBroken(f"`synthray train` ended with {code}:\n{command.tail()}")
            elif not scene.commands:
                scene.start()
        for scaling in [scaling for scaling in scene.scalings if scaling.poll() is not None]:
            scene.scalings.remove(scaling)
            if scaling.returncode != 0 and len(self._open) == 1:
                raise RunBroken(f"`synthray scale` ended with {scaling.returncode}")

    def _allowed_exits(self) -> frozenset[int]:
        """While storage is away, the command may say so and be given again, whatever else goes on."""
        codes = frozenset[int]().union(*(played.injected.exits for played in self._open))
        return codes | ({UNAVAILABLE} if any(p.injected.lift for p in self._open) else frozenset())

    def _has_recovered(self, played: PlayedFault) -> bool:
        if not played.injected.heard:
            return True
        if played.lifts_at is not None or len(self._scene.commands) != 1 or not played.injected.is_mended():
            return False
        samples, attempt = self.notes.samples[played.first_sample :], played.attempt_before
        if newest_attempt(samples, self.notes.seconds) > attempt:
            began = first_step_at(samples, played.at_seconds, attempt)
            images = reached_before(samples, played.at_seconds, attempt)
            return began is not None and caught_up_at(samples, began, images) is not None
        rode_it_out = caught_up_at(samples, played.mended_at, reached(samples, played.mended_at))
        return played.fault.kind not in ENDS_SEGMENT and rode_it_out is not None

    def _all_recovered(self) -> bool:
        return not self._open
