import itertools

from hypothesis import given
from hypothesis import strategies as st

from synthray.serving.line import Line, Place

sizes = st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=8)


def fill(sizes: list[int], steps: int = 5) -> tuple[Line[Place], list[Place]]:
    line: Line[Place] = Line()
    places = [Place(steps, size, is_patient=False) for size in sizes]
    for place in places:
        line.join(place)
    return line, places


def drain(line: Line[Place]) -> list[Place]:
    served = []
    while (place := line.next()) is not None:
        served.append(place)
    return served


@given(sizes)
def test_every_image_of_every_request_gets_exactly_one_slot(sizes: list[int]) -> None:
    line, places = fill(sizes)
    served = drain(line)
    assert [served.count(place) for place in places] == sizes
    assert (line.images, line.steps) == (0, 0)


@given(sizes)
def test_between_two_slots_of_a_request_every_other_one_that_waits_gets_one(sizes: list[int]) -> None:
    line, places = fill(sizes)
    served = drain(line)
    for place in places:
        turns = [index for index, other in enumerate(served) if other is place]
        for begin, end in itertools.pairwise(turns):
            waiting = {other for other in places if other in served[end:]} - {place}
            assert waiting <= set(served[begin:end])


def test_an_image_beside_a_job_of_thousands_gets_the_next_slot_but_one() -> None:
    line, _ = fill([10_000])
    for _ in range(7):
        line.next()
    single = Place(5, 1, is_patient=False)
    line.join(single)
    assert single in {line.next(), line.next()}


@given(sizes)
def test_images_of_patient_requests_are_counted_apart(sizes: list[int]) -> None:
    line, _ = fill(sizes)
    job = Place(5, 7, is_patient=True)
    line.join(job)
    assert (line.images, line.patient_images) == (sum(sizes) + 7, 7)
    line.leave(job)
    assert (line.images, line.patient_images) == (sum(sizes), 0)


@given(sizes, st.data())
def test_who_leaves_takes_nothing_more_and_is_no_longer_counted(
    sizes: list[int], data: st.DataObject
) -> None:
    line, places = fill(sizes)
    for _ in range(data.draw(st.integers(min_value=0, max_value=sum(sizes)))):
        line.next()
    leaver = data.draw(st.sampled_from(places))
    line.leave(leaver)
    line.leave(leaver)
    left = sum(place.waiting for place in places if place is not leaver)
    assert line.images == left
    assert line.steps == 5 * left
    assert leaver not in drain(line)
