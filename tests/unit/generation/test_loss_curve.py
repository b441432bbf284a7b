import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from synthray.generation.loss_curve import (
    HEIGHT,
    WIDTH,
    EpochPoint,
    Fault,
    build_loss_curve,
    plan_loss_ticks,
)

LOSSES = st.none() | st.floats(1e-8, 1e8)


def parse(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)  # noqa: S314 our own text


@settings(deadline=None)
@given(st.lists(st.tuples(LOSSES, LOSSES), max_size=70), st.lists(st.integers(0, 10**6), max_size=5))
def test_any_history_is_a_drawing_within_its_frame(
    losses: list[tuple[float | None, float | None]], faults: list[int]
) -> None:
    history = [EpochPoint(i + 1, 2000 * (i + 1), *pair) for i, pair in enumerate(losses)]
    drawing = build_loss_curve(history, [Fault(position, "WorkerLost", "") for position in faults])
    if all(loss is None for pair in losses for loss in pair):
        assert drawing == ""
        return
    for element in parse(drawing).iter():
        for name, bound in (("x", WIDTH), ("x1", WIDTH), ("cx", WIDTH), ("y", HEIGHT), ("cy", HEIGHT)):
            assert 0 <= float(element.get(name, 0)) <= bound
        for x, y in re.findall(r"([^ ,]+),([^ ,]+)", element.get("points", "")):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT


@settings(deadline=None)
@given(st.floats(1e-8, 1e8), st.floats(1, 1e6))
def test_ticks_enclose_the_losses(low: float, ratio: float) -> None:
    ticks = plan_loss_ticks(low, low * ratio)
    assert ticks[0] <= low
    assert low * ratio < ticks[-1]
    assert ticks == sorted(set(ticks))


def test_ticks_are_round_numbers() -> None:
    assert [f"{tick:g}" for tick in plan_loss_ticks(0.11, 0.4)] == ["0.1", "0.2", "0.5"]


def test_a_lower_loss_lies_lower_and_later_epochs_further_right() -> None:
    history = [EpochPoint(1, 2000, 0.4, None), EpochPoint(2, 4000, 0.2, None)]
    first, second = parse(build_loss_curve(history, [])).findall("circle")
    assert float(first.get("cy", 0)) < float(second.get("cy", 0))
    assert float(first.get("cx", 0)) < float(second.get("cx", 0))


def test_a_fault_is_marked_where_it_happened_in_escaped_words() -> None:
    history = [EpochPoint(1, 2000, 0.4, None), EpochPoint(2, 4000, 0.2, None)]
    drawing = parse(build_loss_curve(history, [Fault(4000, "<script>", "")]))
    [fault] = drawing.findall("g")
    line, title = fault.find("line"), fault.find("title")
    assert line is not None
    assert title is not None
    assert line.get("x1") == drawing.findall("circle")[1].get("cx")
    assert title.text == "<script> at 4,000 images"
