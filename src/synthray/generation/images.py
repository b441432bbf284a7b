"""Images with their receipts, as files: what `generate`, previews and a service hand out.

This module must not know where the files go.
"""

from dataclasses import dataclass

import torch
from diffusers import UNet2DModel

from synthray.diffusion.fingerprint import fingerprint
from synthray.generation.generator import GeneratedImage
from synthray.generation.identity import ModelIdentity
from synthray.generation.profile import Profile, precision_name
from synthray.generation.receipts import PreviewOrigin, Receipt, write_png


@dataclass(frozen=True)
class ImageFiles:
    """An image as PNG with its receipt inside, and the receipt as JSON text."""

    png: bytes
    receipt: str


@dataclass(frozen=True)
class ReceiptBook:
    """All that the images of one batch of work have in common."""

    model: ModelIdentity
    sampler: str
    steps: int
    profile: str
    fingerprint: dict[str, str]
    preview: PreviewOrigin | None = None

    def receipt(self, image: GeneratedImage) -> Receipt:
        """The receipt of one of them."""
        return Receipt(
            model_uri=self.model.uri,
            model_digest=self.model.digest,
            architecture_digest=self.model.architecture_digest,
            sampler=self.sampler,
            steps=self.steps,
            seed=image.seed,
            profile=self.profile,
            pixels_sha256=image.sha256,
            fingerprint=self.fingerprint,
            preview=self.preview,
        )

    def files(self, image: GeneratedImage) -> ImageFiles:
        """The files of one of them."""
        receipt = self.receipt(image)
        return ImageFiles(write_png(image.pixels, receipt), receipt.to_json())


def profile_fingerprint(profile: Profile, device: torch.device | str) -> dict[str, str]:
    """The fingerprint of drawing under a profile on a device."""
    dtype = precision_name(profile, torch.device(device).type)
    return fingerprint(threads=profile.threads, dtype=dtype, device=device)


def pick_device() -> torch.device:
    """This machine's GPU, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(unet: UNet2DModel) -> torch.device:
    """Where a network computes."""
    device: torch.device = next(unet.parameters()).device
    return device
