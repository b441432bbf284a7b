"""Which crew works, which one comes up beside it, and when they change places."""

import math
import time
from collections.abc import Set
from dataclasses import dataclass, field

import pytest

from synthray.training.board import Note, Orders, RunBoard, Seat
from synthray.training.roster import Roster


@dataclass
class FakeCrew:
    """A crew whose members stand on the board as soon as a test lets them come."""

    number: int
    size: int
    board: RunBoard
    alive: bool = True
    closed: bool = False

    def come(self, place: str = "node") -> None:
        for rank in range(self.size):
            self.board.exchange(
                Seat(self.number, "group", rank, self.size), Note("host", place=place, is_warm=True)
            )

    def is_alive(self) -> bool:
        return self.alive

    def end_silent(self, note: Note) -> None:
        raise AssertionError(note)

    def close(self) -> None:
        self.closed = True
        self.board.direct(self.number, Orders(dismissed=True))


@dataclass
class FakePlatform:
    """Opens fake crews; some places may be given up."""

    room_for_relief: bool = True
    board: RunBoard = field(default_factory=RunBoard)
    crews: list[FakeCrew] = field(default_factory=list)
    leaving: dict[str, float] = field(default_factory=dict)

    def open_crew(self, number: int, size: int) -> FakeCrew:
        self.crews.append(FakeCrew(number, size, self.board))
        return self.crews[-1]

    def places(self) -> int | None:
        return None

    def leaving_seconds(self, places: Set[str]) -> float | None:
        return min((self.leaving[place] for place in places & self.leaving.keys()), default=None)

    def has_room_for_relief(self) -> bool:
        return self.room_for_relief

    def logs(self) -> str:
        return ""


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def roster(platform: FakePlatform) -> Roster:
    """A roster with a crew of two at work."""
    roster = Roster(platform)
    assert roster.staff(2) is None
    platform.crews[0].come()
    assert roster.staff(2) is platform.crews[0]
    return roster


def test_a_crew_of_the_wanted_size_stays(platform: FakePlatform, roster: Roster) -> None:
    assert roster.staff(2) is platform.crews[0]
    assert not roster.is_change_due(2)
    assert len(platform.crews) == 1


def test_a_crew_works_on_until_its_relief_is_there(platform: FakePlatform, roster: Roster) -> None:
    assert roster.staff(3) is platform.crews[0]
    assert not roster.is_change_due(3)
    relief = platform.crews[1]
    relief.come()
    assert roster.is_change_due(3)
    roster.change(3)
    assert platform.crews[0].closed
    assert roster.staff(3) is relief


def test_a_relief_that_is_not_wanted_any_more_is_dismissed(platform: FakePlatform, roster: Roster) -> None:
    roster.staff(3)
    roster.staff(4)
    assert [crew.closed for crew in platform.crews] == [False, True, False]
    assert roster.staff(2) is platform.crews[0]
    assert [crew.closed for crew in platform.crews] == [False, True, True]


def test_a_crew_that_has_died_is_replaced_but_not_in_a_rush(
    platform: FakePlatform, roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.crews[0].alive = False
    assert roster.staff(2) is None
    assert len(platform.crews) == 1
    later = time.monotonic() + 60
    monkeypatch.setattr("synthray.training.roster.time.monotonic", lambda: later)
    assert roster.staff(2) is None
    assert platform.crews[1].size == 2


def test_nothing_is_brought_up_while_nobody_can_train(platform: FakePlatform) -> None:
    assert Roster(platform).staff(0) is None
    assert platform.crews == []


def test_without_room_for_a_relief_the_old_crew_leaves_first(platform: FakePlatform, roster: Roster) -> None:
    platform.room_for_relief = False
    roster.staff(3)
    assert roster.is_change_due(3)
    roster.change(3)
    assert platform.crews[0].closed
    assert roster.staff(3) is None
    assert platform.crews[1].size == 3


def test_a_crew_on_a_node_that_is_given_up_gets_a_relief_of_its_own_size(
    platform: FakePlatform, roster: Roster
) -> None:
    platform.leaving = {"node": math.inf}
    assert roster.staff(2) is platform.crews[0]
    assert not roster.is_change_due(2)
    platform.crews[1].come(place="another")
    assert roster.is_change_due(2)


def test_a_node_that_is_about_to_go_is_left_even_without_a_relief(
    platform: FakePlatform, roster: Roster
) -> None:
    platform.leaving = {"node": 10.0}
    roster.staff(2)
    assert roster.is_change_due(2)


def test_the_last_node_is_left_in_time_too(platform: FakePlatform, roster: Roster) -> None:
    platform.leaving = {"node": 10.0}
    assert roster.is_change_due(0)
    roster.change(0)
    assert platform.crews[0].closed
    assert roster.staff(0) is None


def test_at_the_end_everybody_is_dismissed(platform: FakePlatform, roster: Roster) -> None:
    roster.staff(3)
    roster.close()
    assert all(crew.closed for crew in platform.crews)
