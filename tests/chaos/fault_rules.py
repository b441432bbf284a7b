"""What the fault proxy does to which exchange: rules as data, and a book that draws them.

A rule strikes an exchange whose method and path fit, with a probability drawn from the proxy's seed and as
often as its count allows. Pure but for the book's own counters: no sockets, no clock.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class Spoil(StrEnum):
    """What is done to an exchange."""

    LATENCY = "latency"  # `seconds` before the direction's first byte
    BANDWIDTH = "bandwidth"  # `bytes_per_second` of body
    CUT = "cut"  # the connection ends in order after `bytes` of body
    RESET = "reset"  # the connection is reset after `bytes` of body
    STATUS = "status"  # `status` and S3's `code` instead of an answer
    TRUNCATE = "truncate"  # a well-formed message with only `bytes` of its body
    FLIP = "flip"  # one bit of the body's byte at the offset `bytes`
    BLACK_HOLE = "black_hole"  # accepted and never answered


DIRECTIONS = ("request", "response")


@dataclass(frozen=True)
class Rule:
    """One fault; `direction` is the message that it spoils.

    A status, a reset or a black hole of the request comes before the server has heard of it; of the response,
    after the server has carried it out: the answer is lost. `path` is a regular expression that is searched
    in path and query. Without a `count` it strikes for as long as it stands.
    """

    name: str
    spoil: Spoil
    direction: str = "response"
    method: str = ""
    path: str = ""
    probability: float = 1.0
    count: int | None = None
    seconds: float = 0.0
    bytes: int = 0
    bytes_per_second: int = 0
    status: int = 503
    code: str = "SlowDown"

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction={self.direction!r} is not one of {', '.join(DIRECTIONS)}")
        if self.spoil is Spoil.BANDWIDTH and self.bytes_per_second < 1:
            raise ValueError(f"bytes_per_second={self.bytes_per_second} must be at least 1")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability={self.probability} is not between 0 and 1")
        re.compile(self.path)

    def fits(self, method: str, path: str) -> bool:
        """Whether an exchange is of the kind that this rule spoils."""
        return self.method in {"", method} and re.search(self.path, path) is not None

    def to_json(self) -> dict[str, Any]:
        """The form that travels to the proxy."""
        return asdict(self)


def parse_rule(document: Any) -> Rule:
    """Read what `to_json` wrote; raises ValueError with what is wrong."""
    if not isinstance(document, Mapping):
        raise ValueError("a rule is a JSON object")  # noqa: TRY004 as for every other mistake in it
    unknown = set(document) - {field.name for field in fields(Rule)}
    if unknown:
        raise ValueError(f"a rule has no {', '.join(sorted(unknown))}")
    try:
        return Rule(**{**document, "spoil": Spoil(document["spoil"])})
    except (KeyError, TypeError, re.error) as error:
        raise ValueError(f"this is no rule: {error}") from error


def spoil_piece(data: bytes, sent: int, *, flip: Rule | None, end: Rule | None) -> bytes:
    """A piece of a body that begins at the offset `sent`, with a bit flipped and cut off where rules say."""
    spoiled = bytearray(data)
    if flip is not None and sent <= flip.bytes < sent + len(data):
        spoiled[flip.bytes - sent] ^= 1
    return bytes(spoiled if end is None else spoiled[: max(0, end.bytes - sent)])


class RuleBook:
    """The rules that stand now, by name, and how often each one struck."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 the same faults for the same seed
        self._rules: dict[str, Rule] = {}
        self.strikes: Counter[str] = Counter()
        self._left: dict[str, int] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In the order in which they were set."""
        return tuple(self._rules.values())

    def set(self, rule: Rule) -> None:
        """Add a rule, or replace the one of its name; its count begins anew."""
        self._rules[rule.name] = rule
        self._left.pop(rule.name, None)
        if rule.count is not None:
            self._left[rule.name] = rule.count

    def clear(self, name: str | None = None) -> None:
        """Take one rule away, or all."""
        for gone in [name] if name is not None else list(self._rules):
            self._rules.pop(gone, None)
            self._left.pop(gone, None)

    def draw(self, method: str, path: str) -> tuple[Rule, ...]:
        """The rules that strike this exchange; counts them."""
        return tuple(rule for rule in self.rules if rule.fits(method, path) and self._strikes(rule))

    def _strikes(self, rule: Rule) -> bool:
        if self._left.get(rule.name) == 0 or self._random.random() >= rule.probability:
            return False
        if rule.name in self._left:
            self._left[rule.name] -= 1
        self.strikes[rule.name] += 1
        return True
