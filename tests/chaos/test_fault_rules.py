"""Rules say what they mean, and strike the same exchanges for the same seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .fault_rules import DIRECTIONS, Rule, RuleBook, Spoil, parse_rule, spoil_piece

RULES = st.builds(
    Rule,
    name=st.text(min_size=1),
    spoil=st.sampled_from(Spoil),
    direction=st.sampled_from(DIRECTIONS),
    method=st.sampled_from(["", "GET", "PUT"]),
    path=st.sampled_from(["", "/states/", "manifest.json$"]),
    probability=st.floats(0, 1),
    count=st.none() | st.integers(0, 5),
    bytes_per_second=st.integers(1, 100),
)
PIECES = st.lists(st.binary(min_size=1, max_size=7), max_size=8)


@given(RULES)
def test_rules_travel_unchanged(rule: Rule) -> None:
    assert parse_rule(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"name": "a", "spoil": "burn"}, "burn"),
        ({"name": "a", "spoil": "cut", "direction": "up"}, "request, response"),
        ({"name": "a", "spoil": "cut", "probability": 2}, "between 0 and 1"),
        ({"name": "a", "spoil": "bandwidth"}, "at least 1"),
        ({"name": "a", "spoil": "cut", "path": "("}, "no rule"),
        ({"name": "a", "spoil": "cut", "often": 2}, "has no often"),
        ({"spoil": "cut"}, "name"),
        ([], "JSON object"),
    ],
)
def test_a_mistake_in_a_rule_is_named(document: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rule(document)


@given(RULES, st.integers(), st.integers(0, 20))
def test_a_rule_strikes_as_often_as_it_may_and_the_same_exchanges_for_the_same_seed(
    rule: Rule, seed: int, num_exchanges: int
) -> None:
    def strikes() -> list[int]:
        book = RuleBook(seed)
        book.set(rule)
        return [len(book.draw("GET", "/xray/states/1/manifest.json")) for _ in range(num_exchanges)]

    struck = strikes()
    assert struck == strikes()
    assert sum(struck) <= (num_exchanges if rule.count is None else rule.count)
    if rule.probability == 1 and rule.method != "PUT":
        assert sum(struck) == min(num_exchanges, num_exchanges if rule.count is None else rule.count)


def test_a_rule_that_is_set_again_counts_anew_and_a_cleared_one_strikes_no_more() -> None:
    book, rule = RuleBook(0), Rule("once", Spoil.CUT, count=1)
    book.set(rule)
    assert [book.draw("GET", "/"), book.draw("GET", "/")] == [(rule,), ()]
    book.set(rule)
    assert book.draw("GET", "/") == (rule,)
    book.set(rule)
    book.clear("once")
    assert book.draw("GET", "/") == ()
    assert book.strikes == {"once": 2}


@given(PIECES, st.integers(0, 60), st.integers(0, 60))
def test_a_body_is_spoiled_at_its_offset_however_it_is_cut_into_pieces(
    pieces: list[bytes], flip_at: int, end_at: int
) -> None:
    body = b"".join(pieces)
    flip = Rule("flip", Spoil.FLIP, bytes=flip_at)
    end = Rule("cut", Spoil.CUT, bytes=end_at)
    passed, sent = b"", 0
    for piece in pieces:
        passed += spoil_piece(piece, sent, flip=flip, end=end)
        sent += len(piece)
    whole = bytearray(body)
    if flip_at < len(body):
        whole[flip_at] ^= 1
    assert passed == bytes(whole[:end_at])
