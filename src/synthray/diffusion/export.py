"""The JSON files that make weights a folder which diffusers opens.

Beside `unet/diffusion_pytorch_model.safetensors`, `DDPMPipeline.from_pretrained` and the DDIM pipeline need
what the network is, how noisy each timestep is, and which classes read them.
"""

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from synthray.diffusion.schedule import NoiseSchedule, scheduler_config

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

WEIGHTS_PATH = "unet/diffusion_pytorch_model.safetensors"


def diffusers_files(unet: "UNet2DModel", schedule: NoiseSchedule, prediction_type: str) -> dict[str, str]:
    """The text of each JSON file by its path in the folder; all but the weights at `WEIGHTS_PATH`."""
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": version("diffusers"),
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    return {
        "model_index.json": _text(index),
        "scheduler/scheduler_config.json": _text(scheduler_config(schedule, prediction_type)),
        "unet/config.json": unet.to_json_string(),
    }


def _text(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
