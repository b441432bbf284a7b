"""The chart's alerts with their time made short, so that a real fault of seconds can be seen to fire them.

Only time is scaled: how long an alert holds, how far its windows reach, and seconds that an expression adds.
Pure text; it must not start anything.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

_UNITS_MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"\b(\d+)([smhd])\b")
_ADDED_SECONDS = re.compile(r"(?<=\+ )(\d+)\b")


def shorten(rules: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The same rules file with every duration divided by `factor`."""
    document = deepcopy(dict(rules))
    for group in document["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = shorten_expression(rule["expr"], factor)
            if "for" in rule:
                rule["for"] = _shorten_durations(rule["for"], factor)
    return document


def shorten_expression(expression: str, factor: float) -> str:
    """An expression whose windows, offsets and added seconds are shorter."""
    shorter = _shorten_durations(expression, factor)
    return _ADDED_SECONDS.sub(lambda match: f"{int(match[1]) / factor:g}", shorter)


def _shorten_durations(text: str, factor: float) -> str:
    def shorter(match: re.Match[str]) -> str:
        return f"{max(1, round(int(match[1]) * _UNITS_MILLISECONDS[match[2]] / factor))}ms"

    return _DURATION.sub(shorter, text)
