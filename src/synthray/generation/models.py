"""From a URI to a network that draws: read, checked against its manifest, built as diffusers' own class.

This module must not know how images are drawn.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from numpy.typing import NDArray

from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.layout import MalformedLayout, read_file_layout
from synthray.diffusion.schedule import NoiseSchedule, read_scheduler_config
from synthray.errors import InvalidInput, Reason, VerificationFailed
from synthray.generation.identity import ModelIdentity, digest_architecture, digest_arrays
from synthray.generation.sources import LATEST, ModelSource, find_model
from synthray.storage import S3Settings

_FLOATS = (np.dtype("float32"), np.dtype("float16"), np.dtype("float64"))
# Attention's tensors had these names in diffusers before 0.15; models of that time are still about.
_FORMER_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in fp32 on one device, in evaluation mode, and what its outputs mean."""

    unet: UNet2DModel
    schedule: NoiseSchedule
    prediction_type: str
    identity: ModelIdentity


def load_model(
    uri: str, settings: S3Settings, *, which: str | int = LATEST, device: torch.device | str = "cpu"
) -> LoadedModel:
    """Load a model: a run's (`which`: latest, best or an epoch), one of its checkpoints, a diffusers folder.

    Raises NotFound, InvalidInput (ModelInvalid) with what is missing or wrong, VerificationFailed for bytes
    that their manifest does not vouch for, Unavailable.
    """
    source = find_model(uri, settings, which)
    schedule, prediction_type = _read_schedule(source)
    arrays = _read_weights(source)
    digest = digest_arrays(arrays)
    if source.tensor_digest not in (None, digest):
        raise VerificationFailed(
            f"{source.uri}: the weights' digest is {digest}, and the manifest says {source.tensor_digest}",
            reason=Reason.CHECKPOINT_CORRUPT,
        )
    unet = _build_unet(source, arrays, torch.device(device))
    architecture_digest = digest_architecture(unet, schedule, prediction_type)
    return LoadedModel(
        unet, schedule, prediction_type, ModelIdentity(source.uri, digest, architecture_digest)
    )


def _invalid(source: ModelSource, problem: str) -> InvalidInput:
    return InvalidInput(f"{source.uri} is not a model for synthray: {problem}", reason=Reason.MODEL_INVALID)


def _parse_json(source: ModelSource, data: NDArray[np.uint8], file: str) -> dict[str, Any]:
    try:
        document = json.loads(data.tobytes())
    except (ValueError, RecursionError) as error:
        raise _invalid(source, f"{file} is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise _invalid(source, f"{file} is not a JSON object")
    return document


def _read_schedule(source: ModelSource) -> tuple[NoiseSchedule, str]:
    config = _parse_json(source, source.scheduler_config(), "scheduler_config.json")
    try:
        return read_scheduler_config(config)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise _invalid(source, f"scheduler_config.json describes no noise schedule ({error})") from error


def _read_weights(source: ModelSource) -> Arrays:
    """The network's tensors as float32, by their present names."""
    data = source.weights()
    try:
        tensors = view_tensors(data, read_file_layout(data.data))
    except MalformedLayout as error:
        raise _invalid(
            source, f"the weights are not a safetensors file of float32 or float16 ({error})"
        ) from error
    odd = next((name for name, array in tensors.items() if array.dtype not in _FLOATS), None)
    if odd is not None:
        raise _invalid(source, f"the weights' {odd} is {tensors[odd].dtype}; save them in float32")
    return {_present_name(name): array.astype(np.float32, copy=False) for name, array in tensors.items()}


def _present_name(name: str) -> str:
    for former, present in _FORMER_NAMES.items():
        name = name.replace(former, present)
    return name


def _build_unet(source: ModelSource, arrays: Arrays, device: torch.device) -> UNet2DModel:
    config = _parse_json(source, source.unet_config(), "unet/config.json")
    _check_config(source, config)
    try:
        # On the meta device first: nothing is allocated for a network that the weights do not fit.
        with torch.device("meta"):
            unet = UNet2DModel.from_config(config)
    except Exception as error:  # diffusers raises whatever a wrong value leads to
        raise _invalid(source, f"unet/config.json describes no network ({error})") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}
    _check_shapes(source, wanted, {name: array.shape for name, array in arrays.items()})
    unet.to_empty(device=device)
    with torch.no_grad():
        for name, tensor in unet.state_dict().items():
            tensor.copy_(torch.from_numpy(arrays[name]))
    return unet.eval()


def _check_config(source: ModelSource, config: Mapping[str, Any]) -> None:
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise _invalid(source, f"unet/config.json has _class_name={kind}; only UNet2DModel is supported")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise _invalid(source, "it is conditioned on classes; only unconditional models are supported")
    channels = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels not in ((1, 1), (3, 3)):
        raise _invalid(source, f"in_channels, out_channels={channels}; images need 1 or 3 of both")
    size = config.get("sample_size")
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(isinstance(side, int) and 0 < side <= 4096 for side in sides):
        raise _invalid(source, f"unet/config.json has sample_size={size}; images need 1 to 4096 px a side")


def _check_shapes(
    source: ModelSource,
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> None:
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise _invalid(source, f"the weights lack {name}, which unet/config.json asks for")
        if name not in wanted:
            raise _invalid(source, f"the weights hold {name}, for which unet/config.json has no place")
        if wanted[name] != found[name]:
            raise _invalid(
                source, f"{name} has shape {found[name]} and unet/config.json asks for {wanted[name]}"
            )
