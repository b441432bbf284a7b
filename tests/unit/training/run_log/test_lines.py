"""Lines of a log: read from what a worker wrote, bounded, stored and told."""

import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.telemetry.redaction import REMOVED
from synthray.training.run_log.lines import (
    LogLine,
    LogPlace,
    StoredLine,
    WrittenLines,
    build_formatter,
    decode_lines,
    encode_lines,
    format_line,
    format_time,
    keep_newest,
    tell_gaps,
)

PLACE = LogPlace(3, "worker-0")


def write(message: str, level: int = logging.INFO, created: float = 1_700_000_000.25) -> bytes:
    record = logging.LogRecord("synthray", level, "", 0, message, None, None)
    record.created, record.msecs = created, created % 1 * 1000
    return build_formatter().format(record).encode() + b"\n"


def number(messages: list[str], *, first: int = 1) -> list[LogLine]:
    return [LogLine(first + place, 1.0 + place, "INFO", message) for place, message in enumerate(messages)]


def test_what_a_worker_writes_is_read_with_its_time_and_level() -> None:
    assert list(WrittenLines().feed(write("waiting for storage", logging.WARNING))) == [
        (1_700_000_000.25, "WARNING", "waiting for storage")
    ]


def test_a_traceback_stands_beside_the_line_before_it() -> None:
    data = write("the worker gives up", logging.ERROR) + b"Traceback (most recent call last):\n\n  File x\n"
    assert list(WrittenLines(clock=lambda: 0.0).feed(data))[1:] == [
        (1_700_000_000.25, "", "Traceback (most recent call last):"),
        (1_700_000_000.25, "", "  File x"),
    ]


def test_lines_that_nobody_stamped_have_the_time_at_which_they_were_seen() -> None:
    assert list(WrittenLines(clock=lambda: 7.0).feed(b"Fatal Python error\n")) == [
        (7.0, "", "Fatal Python error")
    ]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_pieces_are_read_as_the_whole_is(cuts: list[int]) -> None:
    data = write("one") + "zweitens: größer\n".encode() + write("three") + b"the end of it"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    lines = WrittenLines()
    read = [line for piece in pieces for line in lines.feed(piece)] + list(lines.finish())
    assert [message for _, _, message in read] == ["one", "zweitens: größer", "three", "the end of it"]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=30), st.integers(1, 3000))
def test_the_newest_lines_are_kept_and_always_the_last(messages: list[str], max_bytes: int) -> None:
    lines = number(messages)
    kept = keep_newest(lines, max_bytes)
    assert kept == lines[len(lines) - len(kept) :]
    assert len(kept) == 1 or sum(len(line.message) for line in kept) <= max_bytes


def test_dropped_lines_are_counted_where_they_are_missing() -> None:
    lines = [*number(["a"], first=4), *number(["b", "c"], first=5), *number(["d"], first=9)]
    told = list(tell_gaps(lines, after=1))
    assert [(line.number, line.message) for line in told] == [
        (3, "2 lines were dropped here: they came faster than storage took them"),
        (4, "a"),
        (5, "b"),
        (6, "c"),
        (8, "2 lines were dropped here: they came faster than storage took them"),
        (9, "d"),
    ]


@given(st.lists(st.text(), max_size=10))
def test_what_is_stored_is_read_back(messages: list[str]) -> None:
    plain = [message for message in messages if REMOVED not in message]
    lines = number([f"{place}: {message}" for place, message in enumerate(plain)])
    stored = decode_lines(PLACE, encode_lines(PLACE, lines))
    assert [(one.line.number, one.line.level) for one in stored] == [(line.number, "INFO") for line in lines]


def test_a_secret_is_not_stored() -> None:
    lines = number(
        ["AWS_SECRET_ACCESS_KEY=abcdefgh12345678 was rejected", "http://me:hunter2@s3:8333 is away"]
    )
    data = encode_lines(PLACE, lines)
    assert b"abcdefgh12345678" not in data
    assert b"hunter2" not in data
    assert b"was rejected" in data


@pytest.mark.parametrize(
    "damage", [b"{", b"[]", b'{"line": 1}', b"null", b'"x"', b'{"line": 1, "time": "?"}']
)
def test_what_is_no_line_of_ours_is_left_out(damage: bytes) -> None:
    whole = encode_lines(PLACE, number(["whole"]))
    assert [one.line.message for one in decode_lines(PLACE, damage + b"\n" + whole)] == ["whole"]


def test_people_see_time_process_level_and_message_and_no_terminal_is_moved() -> None:
    line = StoredLine(PLACE, LogLine(1, 1_700_000_000.25, "ERROR", "\x1b[2Jgone\tand \x9bthere"), "")
    assert format_line(line) == (
        "2023-11-14T22:13:20.250Z  worker-0   ERROR    "
        "\N{REPLACEMENT CHARACTER}[2Jgone\tand \N{REPLACEMENT CHARACTER}there"
    )


def test_times_are_utc_to_the_millisecond() -> None:
    assert format_time(0.0015) == "1970-01-01T00:00:00.001Z"
