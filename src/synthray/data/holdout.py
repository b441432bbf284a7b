"""Which patients are held out: a pure function of the patient, so that no later image changes sides.

Adding images to a source, or preparing it at another size, leaves every patient in the split that they had.
It must not know how many patients there are.
"""

import hashlib

from synthray.data.index import Split


def split_of(patient: str, holdout: float) -> Split:
    """The split of all images of one patient: the share `holdout` (0 to 1) of all patients is held out."""
    digest = hashlib.sha256(b"synthray holdout 1\0" + patient.encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return Split.HOLDOUT if share < holdout else Split.TRAIN
