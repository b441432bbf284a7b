"""Every interleaving of the storage operations of several processes that run the project's own code.

A process is a function of an ObjectStore. It is run on a store that replays the answers of a history and
stops it at the first operation beyond: so its next operation is known for each history, and no two processes
ever need to run at once. What the processes did so far, and what is stored, is a state of the search; those
that several schedules reach are looked at once. A process that is never scheduled again is one that died or
was paused there, so every state is also what a crash leaves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from memory_store import MemoryStore

from synthray.errors import SynthrayError
from synthray.storage import ByteRange, ObjectInfo, ObjectStore

Objects = Mapping[str, bytes]


class Operation(NamedTuple):
    """One request to the store; what it changes takes effect at once."""

    kind: str
    arguments: tuple[Any, ...]


class Finished(NamedTuple):
    """What a process returned, or the failure that it ended with."""

    result: Any


class _Suspended(BaseException):
    def __init__(self, operation: Operation) -> None:
        super().__init__(operation)
        self.operation = operation


class _Failure(NamedTuple):
    """An answer that is raised, comparable by what it says."""

    kind: type[SynthrayError]
    message: str


class ReplayStore:
    """Answers from a history; stops its process beyond it. Writes in a row are one operation.

    These are the parts of one checkpoint: no other process writes to their directory, and a reader looks at
    none of them before the manifest is there.
    """

    uri = "memory:"

    def __init__(self, history: Sequence[Any]) -> None:
        self._history = history
        self._position = 0
        self._written: list[tuple[str, bytes]] = []

    def _ask(self, kind: str, *arguments: Any) -> Any:
        if self._written:
            written, self._written = tuple(self._written), []
            self._answer(Operation("write", written))
        return self._answer(Operation(kind, arguments))

    def _answer(self, operation: Operation) -> Any:
        if self._position == len(self._history):
            raise _Suspended(operation)
        answer = self._history[self._position]
        self._position += 1
        if isinstance(answer, _Failure):
            raise answer.kind(answer.message)
        return answer

    def read(self, key: str) -> bytes:
        return bytes(self._ask("read", key))

    def read_range(self, byte_range: ByteRange) -> bytes:
        return bytes(self._ask("read_range", byte_range))

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        return list(self._ask("read_ranges", tuple(byte_ranges)))

    def read_into(
        self, key: str, buffer: memoryview, *, start: int = 0, size_bytes: int | None = None
    ) -> None:
        buffer[:] = self._ask("read_piece", key, len(buffer), start, size_bytes)

    def write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self._written.append((key, bytes(data)))

    def create(self, key: str, data: bytes) -> None:
        self._ask("create", key, bytes(data))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(self._ask("list", prefix))

    def stat(self, key: str) -> ObjectInfo | None:
        info: ObjectInfo | None = self._ask("stat", key)
        return info

    def delete(self, keys: Iterable[str]) -> None:
        self._ask("delete", tuple(keys))

    def discard_unfinished(self, _is_doomed: Callable[[str], bool]) -> Sequence[str]:
        return []

    def child(self, path: str) -> ObjectStore:
        raise NotImplementedError(path)


def execute(operation: Operation, objects: Objects) -> tuple[Any, Objects]:
    """The answer to an operation and what is stored after it."""
    kind, arguments = operation
    changes = kind in {"write", "create", "delete"}
    stored = dict(objects) if changes else objects
    store = MemoryStore(stored)  # type: ignore[arg-type]
    try:
        answer = _carry_out(store, kind, arguments)
    except SynthrayError as error:
        return _Failure(type(error), error.message), objects
    return answer, stored


def _carry_out(store: MemoryStore, kind: str, arguments: tuple[Any, ...]) -> Any:
    match kind:
        case "write":
            for key, data in arguments:
                store.write(key, data)
        case "read_piece":
            key, length, start, size_bytes = arguments
            buffer = bytearray(length)
            store.read_into(key, memoryview(buffer), start=start, size_bytes=size_bytes)
            return bytes(buffer)
        case "read_ranges" | "list":
            return tuple(getattr(store, kind)(*arguments))
        case _:
            return getattr(store, kind)(*arguments)
    return None


class Process:
    """A deterministic function of the answers that it gets; `run` must catch nothing but what it expects."""

    def __init__(self, name: str, run: Callable[[ObjectStore], Any]) -> None:
        self.name = name
        self._run = run
        self._histories: list[tuple[Any, ...]] = [()]
        self._next: list[Operation | Finished] = [self._replay(())]
        self._children: dict[tuple[int, Any], int] = {}

    def step(self, place: int) -> Operation | Finished:
        """What it does at a place of its own, 0 being its beginning."""
        return self._next[place]

    def advance(self, place: int, answer: Any) -> int:
        """Its place after an answer."""
        child = self._children.get((place, answer))
        if child is None:
            history = (*self._histories[place], answer)
            child = len(self._histories)
            self._children[place, answer] = child
            self._histories.append(history)
            self._next.append(self._replay(history))
        return child

    @property
    def num_places(self) -> int:
        """How many different histories it was taken through."""
        return len(self._histories)

    def _replay(self, history: tuple[Any, ...]) -> Operation | Finished:
        try:
            return Finished(self._run(ReplayStore(history)))
        except _Suspended as suspended:
            return suspended.operation


@dataclass(frozen=True)
class Step:
    """One step of one schedule: who did what, and what was stored before and after it."""

    process: str
    operation: Operation
    before: Objects
    after: Objects


@dataclass
class Search:
    """What was searched; `schedules` is the number of different orders of operations that it stands for."""

    num_states: int = 0
    num_stores: int = 0
    schedules: int = 0
    results: set[tuple[Any, ...]] = field(default_factory=set)


def search(
    objects: Objects,
    processes: Sequence[Process],
    check_store: Callable[[Objects], None],
    check_step: Callable[[Step], None],
) -> Search:
    """Take the processes through every order of their operations; the checks raise AssertionError.

    `check_store` sees each content of the store once, `check_step` each operation that changes it.
    """
    found = Search()
    stores: dict[frozenset[tuple[str, bytes]], Objects] = {}

    def intern(content: Objects) -> Objects:
        key = frozenset(content.items())
        if key not in stores:
            stores[key] = content
            check_store(content)
        return stores[key]

    start = intern(objects)
    # Each operation leads one level further, so a state is reached on one level only.
    level = {(id(start), (0,) * len(processes)): (start, 1)}
    while level:
        following: dict[tuple[int, tuple[int, ...]], tuple[Objects, int]] = {}
        for (_, places), (content, ways) in level.items():
            found.num_states += 1
            steps = [process.step(place) for process, place in zip(processes, places, strict=True)]
            if all(isinstance(step, Finished) for step in steps):
                found.schedules += ways
                found.results.add(tuple(step.result for step in steps if isinstance(step, Finished)))
            for number, step in enumerate(steps):
                if isinstance(step, Finished):
                    continue
                answer, after = execute(step, content)
                if after is not content:
                    after = intern(after)
                    check_step(Step(processes[number].name, step, content, after))
                place = processes[number].advance(places[number], answer)
                key = (id(after), (*places[:number], place, *places[number + 1 :]))
                _, so_far = following.get(key, (after, 0))
                following[key] = (after, so_far + ways)
        level = following
    found.num_stores = len(stores)
    return found
