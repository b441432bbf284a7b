"""Which model drew an image: digests of everything in a model that an image depends on.

Two folders with the same weights, network and noise schedule are the same model, wherever they lie. This
module must not know stores.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from diffusers import UNet2DModel
from numpy.typing import NDArray

from synthray.checkpoints.layout import TensorSpec, digest_tensors
from synthray.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class ModelIdentity:
    """`uri`: where the model lay; `digest`: of its tensors, the `ema_sha256` of a run's model.

    `architecture_digest` covers the rest: the network's configuration, what it predicts, its noise schedule.
    """

    uri: str
    digest: str
    architecture_digest: str


def identify(unet: UNet2DModel, schedule: NoiseSchedule, prediction_type: str, uri: str) -> ModelIdentity:
    """The identity of a network with the weights that it has now; needs room for them on the CPU."""
    return ModelIdentity(uri, digest_weights(unet), digest_architecture(unet, schedule, prediction_type))


def digest_weights(unet: UNet2DModel) -> str:
    """The tensor digest of the network's weights, as float32."""
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in unet.state_dict().items()}
    return digest_arrays(arrays)


def digest_arrays(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """The tensor digest of float32 arrays by name."""
    return digest_tensors(
        {
            TensorSpec(name, "float32", array.shape): np.ascontiguousarray(array, dtype="<f4").data.cast("B")
            for name, array in arrays.items()
        }
    )


def digest_architecture(unet: UNet2DModel, schedule: NoiseSchedule, prediction_type: str) -> str:
    """SHA-256 over the JSON of what decides an image beside the weights; notes of diffusers' own left out."""
    document = {
        "unet": {name: value for name, value in unet.config.items() if not name.startswith("_")},
        "prediction_type": prediction_type,
        "alphas_cumprod": [float(value).hex() for value in schedule.alphas_cumprod],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
