"""A node is a place for as long as a whole worker fits, beside what others hold there."""

from synthray.training.places import Places


def test_what_is_free_or_ours_makes_a_place_and_what_others_hold_does_not() -> None:
    assert Places().observe(0.0, {"free": 1.0, "big": 4.0, "half": 0.5, "taken": 0.4, "head": 0.0}) == {
        "free",
        "big",
        "half",
    }


def test_a_node_that_is_taken_by_others_stays_a_place_for_a_moment_only() -> None:
    places = Places()
    places.observe(0.0, {"node": 1.0})
    assert places.observe(1.0, {"node": 0.4}) == {"node"}
    assert places.observe(2.0, {"node": 1.0}) == {"node"}
    assert places.observe(7.0, {"node": 0.4}) == {"node"}
    assert places.observe(7.5, {"node": 0.4}) == set()
    assert places.observe(8.0, {"node": 1.0}) == {"node"}


def test_a_node_that_is_gone_is_no_place_at_once() -> None:
    places = Places()
    places.observe(0.0, {"node": 1.0, "other": 1.0})
    assert places.observe(0.1, {"other": 1.0}) == {"other"}
