"""Since when the operator has listened without a pause. Pure.

Silence proves something about a driver only while somebody listened: a process that has just begun, or one
that was stopped or starved for a while, has heard nobody, however well all of them are.
"""

from datetime import datetime, timedelta
from typing import Final

# Above what one question to a pod may take, and below the silence that counts.
_PAUSE: Final = timedelta(seconds=10)


class Attention:
    """Told often that it goes on, it knows since when it has."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._last: datetime | None = None

    def go_on(self, now: datetime) -> None:
        """Somebody listens now."""
        if self._last is None or now - self._last > _PAUSE:
            self._since = now
        self._last = now

    def since(self, now: datetime) -> datetime:
        """The beginning of the time without a pause that ends now; now, if nobody listens."""
        if self._since is None or self._last is None or now - self._last > _PAUSE:
            return now
        return self._since
