"""The network of a run: a preset, and fields that replace parts of it one by one."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from synthray.api.architecture import PRESETS, UNetArchitecture
from synthray.api.v1alpha1.fields import ApiModel, FromList, OptionalStorageUri

Preset = Literal["unconditional-512", "unconditional-256", "unconditional-128", "demo-64"]
DownBlockType = Literal["DownBlock2D", "AttnDownBlock2D"]
UpBlockType = Literal["UpBlock2D", "AttnUpBlock2D"]
_Width = Annotated[int, Field(ge=1, le=4096)]
_MAX_BLOCKS = 8

# Name in the spec -> name in UNetArchitecture, where they differ.
ARCHITECTURE_NAMES = {"resolution": "resolution_px"}
ARCHITECTURE_FIELDS = (
    "resolution",
    "channels",
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "attention_head_dim",
    "norm_num_groups",
    "activation_checkpointing",
)


class ModelSpec(ApiModel):
    """A diffusers UNet2DModel. The preset fills every field that is left out; a field that is given wins."""

    preset: Preset = Field(
        default="unconditional-512",
        description="Named shape. unconditional-512, -256 and -128 are the network of diffusers' "
        "train_unconditional.py (114 M parameters); demo-64 learns on two CPU cores in minutes.",
    )
    init_from: OptionalStorageUri = Field(
        default="",
        description="Fine-tune from these weights: a diffusers folder, or a run's model. Empty: from "
        "weights drawn from the seed.",
    )
    resolution: int | None = Field(
        default=None,
        ge=8,
        le=2048,
        description="Height and width of the images in pixels; each block but the last halves it.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="Channels of an image: 1 for X-rays, 3 for colour."
    )
    block_out_channels: Annotated[tuple[_Width, ...], FromList] | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_BLOCKS,
        description="Width of each block, the finest resolution first; multiples of normNumGroups.",
    )
    layers_per_block: int | None = Field(
        default=None, ge=1, le=8, description="Residual layers in each block."
    )
    down_block_types: Annotated[tuple[DownBlockType, ...], FromList] | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_BLOCKS,
        description="Kind of each block on the way down, the finest resolution first.",
    )
    up_block_types: Annotated[tuple[UpBlockType, ...], FromList] | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_BLOCKS,
        description="Kind of each block on the way up, the coarsest resolution first.",
    )
    attention_head_dim: int | None = Field(
        default=None, ge=1, le=512, description="Channels of one attention head."
    )
    norm_num_groups: int | None = Field(
        default=None, ge=1, le=512, description="Groups of the group normalisation."
    )
    activation_checkpointing: bool | None = Field(
        default=None,
        description="Compute activations twice rather than keep them: about a third more work for a "
        "fraction of the memory. Part of the result, since gradients may be added in another order.",
    )


def resolve_architecture(model: ModelSpec) -> UNetArchitecture:
    """The preset with the given fields in place of its own; rules between fields are not checked here."""
    given = {name: getattr(model, name) for name in ARCHITECTURE_FIELDS}
    changes = {
        ARCHITECTURE_NAMES.get(name, name): value for name, value in given.items() if value is not None
    }
    return replace(PRESETS[model.preset], **changes)
