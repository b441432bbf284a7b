"""A network measured on fake tensors; in the slow lane, since importing torch and diffusers takes seconds."""

from synthray.api.architecture import UNetArchitecture
from synthray.training.explain import NetworkSize, measure_network

TINY = UNetArchitecture(
    resolution_px=16,
    block_out_channels=(8, 8),
    down_block_types=("DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    norm_num_groups=4,
)


def test_a_larger_micro_batch_needs_more_memory_for_the_same_parameters() -> None:
    one, eight = (measure_network(TINY, images, "fp32") for images in (1, 8))
    assert isinstance(one, NetworkSize)
    assert one.parameters == eight.parameters > 1000
    assert 28 * one.parameters < one.device_memory_bytes < eight.device_memory_bytes
