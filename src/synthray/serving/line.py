"""Who gets the next free slot: requests take turns, whatever their number of images.

Pure bookkeeping of whole numbers; it must not know time, threads or images.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar


@dataclass(eq=False)
class Place:
    """A request in the line: `waiting` images, of `steps` steps each, have no slot yet.

    A patient one bounds itself: it takes its turns, and its images are counted apart.
    """

    steps: int
    waiting: int
    is_patient: bool


PlaceT = TypeVar("PlaceT", bound=Place)


class Line(Generic[PlaceT]):
    """Requests with images that wait.

    Between two slots of one request, every other request that waits gets one: an image beside a job of
    thousands waits for one slot to become free, and for as many more as there are requests.
    """

    def __init__(self) -> None:
        self._places: deque[PlaceT] = deque()
        self._images = 0
        self._patient_images = 0
        self._steps = 0

    @property
    def images(self) -> int:
        """Images that wait, of all requests."""
        return self._images

    @property
    def patient_images(self) -> int:
        """Images that wait, of patient requests."""
        return self._patient_images

    @property
    def steps(self) -> int:
        """Denoising steps of all images that wait."""
        return self._steps

    def __iter__(self) -> Iterator[PlaceT]:
        return iter(self._places)

    def join(self, place: PlaceT) -> None:
        """Wait, at the end."""
        self._places.append(place)
        self._count(place, place.waiting)

    def next(self) -> PlaceT | None:
        """The request whose next image gets a free slot; None if nobody waits."""
        if not self._places:
            return None
        place = self._places.popleft()
        self._count(place, -1)
        place.waiting -= 1
        if place.waiting:
            self._places.append(place)
        return place

    def leave(self, place: PlaceT) -> None:
        """Wait no longer; nothing if it does not wait."""
        if place in self._places:
            self._places.remove(place)
            self._count(place, -place.waiting)
            place.waiting = 0

    def _count(self, place: PlaceT, images: int) -> None:
        self._images += images
        self._patient_images += images * place.is_patient
        self._steps += images * place.steps
