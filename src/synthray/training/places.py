"""Which nodes of a Ray cluster have room for one of this run's workers. Pure: no Ray, no clock."""

from collections.abc import Mapping

HALF_A_PLACE = 0.5
"""What a worker reserves: the crew that is to relieve another comes up beside it, on the same nodes."""
# Ray tells what is free a moment later than who holds what: one look that does not add up is no news.
_PATIENCE_SECONDS = 5.0


class Places:
    """Remembers which nodes had room that was free or ours, and since when they have not."""

    def __init__(self) -> None:
        self._had_room_at: dict[str, float] = {}

    def observe(self, now: float, room: Mapping[str, float]) -> frozenset[str]:
        """The nodes with room, given for each living node how much of a place is free or ours."""
        for node, share in room.items():
            if share >= HALF_A_PLACE:
                self._had_room_at[node] = now
        self._had_room_at = {
            node: at
            for node, at in self._had_room_at.items()
            if node in room and now - at <= _PATIENCE_SECONDS
        }
        return frozenset(self._had_room_at)
