"""A piece of memory that S3 libraries take for a file."""

import io

from hypothesis import given
from hypothesis import strategies as st

from synthray.storage.s3_body import Body

steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 50)),
        st.tuples(st.just("seek"), st.integers(0, 40)),
        st.tuples(st.just("end"), st.just(0)),
    )
)


@given(st.binary(max_size=40), steps)
def test_it_reads_like_a_file_of_the_same_bytes(data: bytes, steps: list[tuple[str, int]]) -> None:
    reads: list[int] = []
    body, file = Body(memoryview(data), lambda: reads.append(1)), io.BytesIO(data)
    for kind, number in steps:
        if kind == "read":
            assert body.read(number) == file.read(number)
        elif kind == "end":
            assert body.seek(0, io.SEEK_END) == file.seek(0, io.SEEK_END)
        else:
            assert body.seek(min(number, len(data))) == file.seek(min(number, len(data)))
        assert body.tell() == file.tell()
    assert len(reads) == sum(kind == "read" for kind, _ in steps)
