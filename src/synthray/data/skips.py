"""Why an image is left out of a dataset: reasons as constants, details that name no patient.

The details go into `dataset.json` and logs, so they are made of numbers and our own words; a decoder's
message may quote a header and never gets here. It must not import decoders.
"""

from dataclasses import dataclass
from enum import StrEnum


class SkipReason(StrEnum):
    """What is wrong with an image; OTHER_FILE is none by its name, and doesn't count as a bad one."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not-an-image"
    TOO_LARGE = "too-large"
    TOO_SMALL = "too-small"
    NO_PIXELS = "no-pixels"
    NOT_FINITE = "not-finite"
    DECODER_MISSING = "decoder-missing"
    MISSING = "missing"
    OTHER_FILE = "other-file"


class Undecodable(Exception):
    """These bytes give no image; carries the reason and the detail to list."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class SkippedImage:
    """An image left out: its position in the sorted source, its key there, and why.

    A file that is no image by its name has no position. `source` is for the person who prepares;
    it is neither logged nor stored with the dataset.
    """

    source_index: int | None
    source: str
    reason: SkipReason
    detail: str
