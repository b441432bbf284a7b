import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from committed_run import build_tiny_unet
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from synthray.diffusion.determinism import PINNED, read_switches
from synthray.errors import InvalidInput
from synthray.generation.profile import (
    FAST_1,
    PROFILES,
    STRICT_1,
    check_weights,
    pinned,
    precision_name,
    profile_of_name,
)


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    return build_tiny_unet(0)


def global_settings() -> tuple[object, ...]:
    backends: Any = torch.backends
    return (
        torch.get_num_threads(),
        read_switches(),
        torch.get_float32_matmul_precision(),
        backends.cuda.flash_sdp_enabled(),
        backends.cuda.math_sdp_enabled(),
        backends.cuda.mem_efficient_sdp_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_strict_1_never_changes_its_meaning() -> None:
    assert (STRICT_1.name, STRICT_1.batch_images, STRICT_1.threads) == ("strict-1", 4, 1)
    assert not STRICT_1.is_half
    assert PROFILES["strict-1"] is STRICT_1


def test_fast_1_never_changes_its_meaning() -> None:
    assert (FAST_1.name, FAST_1.batch_images, FAST_1.threads, FAST_1.is_half) == ("fast-1", 8, 1, True)
    assert PROFILES["fast-1"] is FAST_1


def test_what_a_profile_computes_in_is_named_for_fingerprints() -> None:
    assert [precision_name(STRICT_1, device) for device in ("cpu", "cuda")] == ["fp32", "fp32"]
    assert [precision_name(FAST_1, device) for device in ("cpu", "cuda")] == ["fp32", "fp16"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision is for a GPU")
def test_the_fast_profile_computes_in_half_precision_with_weights_in_fp32(unet: UNet2DModel) -> None:
    fast = UNet2DModel.from_config(unet.config).cuda()
    with pinned(FAST_1, fast):
        zeros = torch.zeros(8, 1, 16, 16, device="cuda")
        assert fast(zeros, torch.zeros(8, device="cuda")).sample.dtype == torch.float16
    check_weights(fast)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"profile='fast' does not exist; use one of strict-1, fast-1"):
        profile_of_name("fast")


def test_everything_that_decides_a_bit_is_pinned_inside(unet: UNet2DModel) -> None:
    unet.train()
    with pinned(STRICT_1, unet):
        assert torch.get_num_threads() == 1
        assert read_switches() == PINNED
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.is_inference_mode_enabled()
        assert not unet.training


def test_everything_is_put_back_even_after_a_failure(unet: UNet2DModel) -> None:
    unet.train()
    attention = [module for module in unet.modules() if isinstance(module, Attention)]
    for layer in attention:
        layer.set_processor(AttnProcessor())
    torch.use_deterministic_algorithms(True, warn_only=True)
    before = global_settings()

    def fail() -> None:
        with pinned(replace(STRICT_1, threads=3), unet):
            assert torch.get_num_threads() == 3
            assert not torch.are_deterministic_algorithms_enabled()
            assert all(isinstance(layer.processor, AttnProcessor2_0) for layer in attention)
            raise KeyError

    try:
        with pytest.raises(KeyError):
            fail()
        assert global_settings() == before
    finally:
        torch.use_deterministic_algorithms(False)
    assert unet.training
    assert all(isinstance(layer.processor, AttnProcessor) for layer in attention)


def test_the_callers_autocast_does_not_reach_the_forward_pass(unet: UNet2DModel) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), pinned(STRICT_1, unet):
        assert unet(torch.zeros(4, 1, 16, 16), torch.zeros(4)).sample.dtype == torch.float32


def test_the_thread_count_is_pinned_in_any_thread(unet: UNet2DModel) -> None:
    seen: list[int] = []

    def enter() -> None:
        with pinned(STRICT_1, unet):
            seen.append(torch.get_num_threads())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(timeout=60)
    assert seen == [1]


def test_weights_in_another_type_or_memory_format_are_refused(unet: UNet2DModel) -> None:
    check_weights(unet)
    with pytest.raises(ValueError, match="not contiguous fp32"):
        check_weights(UNet2DModel.from_config(unet.config).to(torch.float16))
    with pytest.raises(ValueError, match="not contiguous fp32"):
        check_weights(UNet2DModel.from_config(unet.config).to(memory_format=torch.channels_last))
