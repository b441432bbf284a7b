from dataclasses import replace

import numpy as np
import pytest
from committed_run import CommittedRun

from synthray.errors import InvalidInput, NotFound, VerificationFailed
from synthray.generation.generator import Generator
from synthray.generation.images import ReceiptBook, profile_fingerprint
from synthray.generation.models import LoadedModel, load_model
from synthray.generation.profile import STRICT_1
from synthray.generation.receipts import write_png
from synthray.generation.verify import Evidence, Verdict, read_evidence, require_verified, verify_images

STEPS = 2


class Studio:
    """Draws images of a run's newest model, and opens models by URI while counting."""

    def __init__(self, run: CommittedRun) -> None:
        self.run = run
        self.opened: list[str] = []
        run.commit(100)
        self.model = load_model(run.store.uri, run.settings)

    def draw(self, *seeds: int, sampler: str = "ddim", **changes: object) -> list[bytes]:
        fields: dict[str, object] = {
            "model": self.model.identity,
            "sampler": sampler,
            "steps": STEPS,
            "profile": STRICT_1.name,
            "fingerprint": profile_fingerprint(STRICT_1, "cpu"),
        }
        book = ReceiptBook(**{**fields, **changes})  # type: ignore[arg-type]
        generator = Generator(self.model.unet, self.model.schedule, self.model.prediction_type, STRICT_1)
        return [book.files(image).png for image in generator.generate(seeds, sampler, STEPS)]

    def open(self, uri: str) -> LoadedModel:
        self.opened.append(uri)
        return load_model(uri, self.run.settings)

    def judge(self, *pngs: bytes) -> list[Verdict]:
        images = [read_evidence(png, f"{index}.png") for index, png in enumerate(pngs)]
        return list(verify_images(images, self.open))


@pytest.fixture
def studio(run: CommittedRun) -> Studio:
    return Studio(run)


def test_images_made_here_verify(studio: Studio) -> None:
    verdicts = studio.judge(*studio.draw(1, 2, 3, 4, 5), *studio.draw(1, sampler="ddpm"))
    assert len(verdicts) == 6
    assert all(verdict.is_verified and not verdict.notes for verdict in verdicts)
    assert studio.opened == [studio.model.identity.uri], "a model is loaded once for all its images"
    require_verified(verdicts)


def test_pixels_changed_after_the_receipt_are_noticed(studio: Studio) -> None:
    [png] = studio.draw(1)
    image = read_evidence(png, "a.png")
    pixels = image.pixels.copy()
    pixels[0, 0, 0] ^= 1
    [verdict] = verify_images([Evidence("a.png", pixels, image.receipt)], studio.open)
    assert verdict.differences == (
        "the pixels differ from the receipt's digest: they were changed after it was written",
    )


def test_a_receipt_moved_to_another_image_is_noticed(studio: Studio) -> None:
    """Both the pixels and their digest are of seed 2: only drawing again tells."""
    image = read_evidence(studio.draw(2)[0], "a.png")
    forged = write_png(image.pixels, image.receipt.model_copy(update={"seed": 1}))
    [verdict] = studio.judge(forged)
    assert len(verdict.differences) == 1
    assert verdict.differences[0].startswith("the pixels differ when made again in ")
    assert verdict.differences[0].endswith(
        "of 256 values, by at most "
        f"{np.abs(image.pixels.astype(int) - read_evidence(studio.draw(1)[0], 'b').pixels).max()} of 255"
    )


def test_another_machine_explains_different_pixels(studio: Studio) -> None:
    here = profile_fingerprint(STRICT_1, "cpu")
    image = read_evidence(studio.draw(2)[0], "a.png")
    changes = {"seed": 1, "fingerprint": {**here, "torch": "2.0.0"}}
    [verdict] = studio.judge(write_png(image.pixels, image.receipt.model_copy(update=changes)))
    assert verdict.differences[1] == f"the fingerprint differs: torch was 2.0.0 and is {here['torch']}"


def test_equal_pixels_from_another_machine_verify_with_a_note(studio: Studio) -> None:
    here = profile_fingerprint(STRICT_1, "cpu")
    [verdict] = studio.judge(*studio.draw(1, fingerprint={**here, "driver": "570"}))
    assert verdict.is_verified
    assert verdict.notes == ("the fingerprint differs: driver was 570 and is nothing",)


@pytest.mark.parametrize(
    ("field", "what"),
    [("digest", "weights"), ("architecture_digest", "network or noise schedule")],
)
def test_another_model_is_told_apart_without_drawing(studio: Studio, field: str, what: str) -> None:
    identity = replace(studio.model.identity, **{field: "0" * 64})
    [verdict] = studio.judge(*studio.draw(1, model=identity))
    there = getattr(studio.model.identity, field)[:12]
    assert verdict.differences == (
        f"the model differs: the {what} at {identity.uri} have digest {there}, the receipt says {'0' * 12}",
    )


def test_a_model_that_is_gone_is_asked_for(studio: Studio) -> None:
    gone = replace(studio.model.identity, uri=f"{studio.run.store.uri}/models/000000000900-a000009")
    with pytest.raises(NotFound) as missing:
        studio.judge(*studio.draw(1, model=gone))
    assert missing.value.message == (
        f"{gone.uri} was not committed or is gone; if the model lies elsewhere now, name it with --model"
    )


def test_the_same_model_verifies_from_another_place(studio: Studio) -> None:
    gone = replace(studio.model.identity, uri="s3://gone/model")
    images = [read_evidence(png, "a.png") for png in studio.draw(1, model=gone)]
    [verdict] = verify_images(images, lambda _uri: studio.model)
    assert verdict.is_verified


def test_a_profile_of_a_later_version_is_refused(studio: Studio) -> None:
    [png] = studio.draw(1, profile="strict-9")
    with pytest.raises(
        InvalidInput, match=r"a\.png was drawn under profile=strict-9, which this version does"
    ):
        read_evidence(png, "a.png")


def test_all_that_failed_is_told_at_once() -> None:
    verdicts = [Verdict("a.png", 1, ("x", "y")), Verdict("b.png", 2, ()), Verdict("c.png", 3, ("z",))]
    with pytest.raises(VerificationFailed) as failure:
        require_verified(verdicts)
    assert failure.value.exit_code == 4
    assert failure.value.message == (
        "2 of 3 images are not what their receipts say:\n  a.png: x; y\n  c.png: z"
    )
