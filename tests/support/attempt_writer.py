"""The uploader of an attempt without its process: the same code that answers orders, on any store."""

from small_run import SPECS, SmallRun, build_request

from synthray.checkpoints.commit import Committer
from synthray.checkpoints.layout import plan_file
from synthray.checkpoints.names import TENSOR_PARTS
from synthray.checkpoints.requests import Opening, RunContext, SaveAnswer, SaveOrder
from synthray.checkpoints.uploader import Uploader
from synthray.storage import ObjectStore, S3Settings


class AttemptWriter:
    """Saves of one attempt, each with what follows it: retention and sweeping."""

    def __init__(self, store: ObjectStore, context: RunContext, *, shift: float = 0.0) -> None:
        size_bytes = plan_file(SPECS).size_bytes
        self._buffer = bytearray(size_bytes * len(TENSOR_PARTS))
        self._regions = {part: (place * size_bytes, size_bytes) for place, part in enumerate(TENSOR_PARTS)}
        self._run = SmallRun(store, context.run, shift=shift)
        self._parent = context.resumes_from
        opening = Opening(
            store_uri=store.uri,
            settings=S3Settings(),
            context=context,
            parent_pid=0,
            descriptor=0,
            buffer_bytes=len(self._buffer),
            regions=self._regions,
        )
        self._uploader = Uploader(opening, memoryview(self._buffer))
        # What it would open by itself at its first order.
        self._uploader._store, self._uploader._committer = store, Committer(store, context)

    def save(self, images_seen: int, *, model: bool = True) -> SaveAnswer:
        """The answer to an order to save what the run holds at that many images."""
        for part, data in self._run.files(images_seen).items():
            start, size_bytes = self._regions[part]
            self._buffer[start : start + size_bytes] = data
        order = SaveOrder(build_request(images_seen, model=model), self._parent)
        answer = self._uploader.answer(order)
        if answer.report is not None:
            self._parent = answer.report.state
        return answer
