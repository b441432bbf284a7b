"""Verification: an image made again from its receipt, and what differs if it does.

Equal bytes are promised for equal fingerprints; where those differ, equal pixels still verify, and unequal
ones are reported with what is different about the machine. This module must not know the command line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from synthray.errors import InvalidInput, NotFound, VerificationFailed
from synthray.generation.generator import GeneratedImage, Generator
from synthray.generation.identity import ModelIdentity
from synthray.generation.images import device_of, profile_fingerprint
from synthray.generation.models import LoadedModel
from synthray.generation.profile import PROFILES
from synthray.generation.receipts import Pixels, Receipt, pixels_sha256, read_png

OpenModel = Callable[[str], LoadedModel]


@dataclass(frozen=True, eq=False)
class Evidence:
    """A PNG that claims to be ours: `source` is its name, for messages."""

    source: str
    pixels: Pixels
    receipt: Receipt


@dataclass(frozen=True)
class Verdict:
    """What came of one image: verified if nothing differs; `notes` differ and do not matter."""

    source: str
    seed: int
    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the image is what its receipt says."""
        return not self.differences


def read_evidence(data: bytes, source: str) -> Evidence:
    """Decode a PNG with its receipt; raises InvalidInput for anything else."""
    pixels, receipt = read_png(data, source)
    if receipt.profile not in PROFILES:
        raise InvalidInput(
            f"{source} was drawn under profile={receipt.profile}, which this version does not know; "
            f"verify it with {receipt.software}"
        )
    return Evidence(source, pixels, receipt)


def verify_images(images: Sequence[Evidence], open_model: OpenModel) -> Iterator[Verdict]:
    """Make each image again and compare; images of one model, sampler and number of steps share batches.

    `open_model` gets a receipt's model URI. Raises NotFound with the remedy if that model is gone.
    """
    by_model = sorted(images, key=lambda image: image.receipt.model_uri)
    for uri, of_model in groupby(by_model, key=lambda image: image.receipt.model_uri):
        model = _open(uri, open_model)
        by_plan = sorted(of_model, key=_plan_of)
        for _, of_plan in groupby(by_plan, key=_plan_of):
            yield from _verify_plan(list(of_plan), model)


def require_verified(verdicts: Sequence[Verdict]) -> None:
    """Raise VerificationFailed, with what differs in each, unless all are verified."""
    failed = [verdict for verdict in verdicts if not verdict.is_verified]
    if failed:
        lines = [f"  {verdict.source}: {'; '.join(verdict.differences)}" for verdict in failed]
        raise VerificationFailed(
            "\n".join([f"{len(failed)} of {len(verdicts)} images are not what their receipts say:", *lines])
        )


def _plan_of(image: Evidence) -> tuple[str, str, int]:
    return image.receipt.profile, image.receipt.sampler, image.receipt.steps


def _open(uri: str, open_model: OpenModel) -> LoadedModel:
    try:
        return open_model(uri)
    except NotFound as error:
        raise NotFound(f"{error.message}; if the model lies elsewhere now, name it with --model") from error


def _verify_plan(images: Sequence[Evidence], model: LoadedModel) -> Iterator[Verdict]:
    """Verdicts on images of one profile, sampler and number of steps."""
    other = {id(image): compare_model(image.receipt, model.identity) for image in images}
    mine = [image for image in images if not other[id(image)]]
    for image in images:
        if other[id(image)]:
            yield Verdict(image.source, image.receipt.seed, other[id(image)])
    if not mine:
        return
    receipt = mine[0].receipt
    profile = PROFILES[receipt.profile]
    here = profile_fingerprint(profile, device_of(model.unet))
    generator = Generator(model.unet, model.schedule, model.prediction_type, profile)
    seeds = [image.receipt.seed for image in mine]
    for image, again in zip(mine, generator.generate(seeds, receipt.sampler, receipt.steps), strict=True):
        yield compare_pixels(image, again, here)


def compare_model(receipt: Receipt, model: ModelIdentity) -> tuple[str, ...]:
    """What is different about the model that a receipt names; empty if it is this one."""
    pairs = (
        ("weights", receipt.model_digest, model.digest),
        ("network or noise schedule", receipt.architecture_digest, model.architecture_digest),
    )
    return tuple(
        f"the model differs: the {what} at {model.uri} have digest {there[:12]}, "
        f"the receipt says {claimed[:12]}"
        for what, claimed, there in pairs
        if claimed != there
    )


def compare_pixels(image: Evidence, again: GeneratedImage, here: Mapping[str, str]) -> Verdict:
    """The verdict on an image that was made again; `here`: the fingerprint of where."""
    receipt = image.receipt
    machine = _compare_fingerprints(receipt.fingerprint, here)
    differences = []
    if pixels_sha256(image.pixels) != receipt.pixels_sha256:
        differences.append(
            "the pixels differ from the receipt's digest: they were changed after it was written"
        )
    if again.sha256 != receipt.pixels_sha256:
        differences.append(f"the pixels differ when made again{_amount(image.pixels, again.pixels)}")
        differences.extend(machine)
        machine = ()
    return Verdict(image.source, receipt.seed, tuple(differences), machine)


def _amount(before: Pixels, after: Pixels) -> str:
    if before.shape != after.shape:
        return f": {before.shape} is now {after.shape}"
    levels = np.abs(before.astype(np.int16) - after.astype(np.int16))
    return f" in {np.count_nonzero(levels):,} of {levels.size:,} values, by at most {levels.max()} of 255"


def _compare_fingerprints(there: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"the fingerprint differs: {name} was {there.get(name, 'nothing')} and is {here.get(name, 'nothing')}"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    )
