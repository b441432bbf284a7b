"""A run of a tiny network that never trained: real commits, so that models are loaded as they will be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from run_contexts import build_context, build_identity
from safetensors.torch import save

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.commit import Committer
from synthray.checkpoints.identity import claim_prefix
from synthray.checkpoints.requests import SaveRequest
from synthray.diffusion.export import diffusers_files
from synthray.diffusion.schedule import NoiseSchedule, build_schedule
from synthray.storage import ObjectStore, S3Settings


def build_tiny_unet(seed: int, **changes: Any) -> UNet2DModel:
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DModel(**{**config, **changes})


class CommittedRun:
    """A run's prefix; the networks of a save are functions of images_seen."""

    def __init__(self, store: ObjectStore, settings: S3Settings) -> None:
        self.store = store
        self.settings = settings
        self.schedule: NoiseSchedule = build_schedule("shifted_cosine", 16, zero_terminal_snr=True)
        self.prediction_type = "v_prediction"
        claim_prefix(self.store, build_identity("tiny"))

    def unet(self, images_seen: int, weights: str) -> UNet2DModel:
        return build_tiny_unet(images_seen * 2 + (weights == "raw"))

    def commit(
        self,
        images_seen: int,
        *,
        resumes_from: str | None = None,
        validation_loss: float | None = None,
        ledger: Mapping[str, Any] | None = None,
        model: bool = True,
    ) -> str:
        """Begin an attempt that saves once; returns the checkpoint's name."""
        attempt = begin_attempt(self.store, "test", resumes_from)
        raw, ema = self.unet(images_seen, "raw"), self.unet(images_seen, "ema")
        context = build_context(
            attempt, "tiny", model_files=diffusers_files(ema, self.schedule, self.prediction_type)
        )
        request = SaveRequest(
            images_seen=images_seen,
            step=images_seen // 10,
            epoch=images_seen // 100,
            write_model=model,
            progress={},
            ledger=ledger or {},
            validation_loss=validation_loss,
        )
        files = {"weights": raw, "ema": ema, "optimizer": raw}
        tensors = {
            part: np.frombuffer(save(unet.state_dict()), np.uint8).data for part, unet in files.items()
        }
        return Committer(self.store, context).save(tensors, request, resumes_from).state
