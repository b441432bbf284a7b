from pathlib import Path

import torch

from synthray.diffusion.fingerprint import fingerprint, read_cpu_model, read_driver_version


def test_a_fingerprint_names_everything_that_moves_the_last_bits_on_a_cpu() -> None:
    found = fingerprint(threads=1, dtype="fp32", device="cpu")
    assert list(found) == [
        "cpu_instruction_set", "device", "diffusers", "dtype", "numpy", "pillow", "threads", "torch",
    ]  # fmt: skip
    assert all(found.values())
    assert torch.__version__.startswith(found["torch"])
    assert found == fingerprint(threads=1, dtype="fp32", device=torch.device("cpu"))


def test_threads_and_precision_make_another_fingerprint() -> None:
    assert fingerprint(1, "fp32", "cpu") != fingerprint(2, "fp32", "cpu")
    assert fingerprint(1, "fp32", "cpu") != fingerprint(1, "bf16", "cpu")


def test_the_processor_is_read_from_the_kernel(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t: fpu\n", encoding="utf-8")
    assert read_cpu_model(cpuinfo) == "AMD EPYC 9R14"
    assert read_cpu_model(tmp_path / "missing") == "unknown"


def test_the_driver_is_read_from_the_kernel_in_both_of_its_forms(tmp_path: Path) -> None:
    closed, opened = tmp_path / "closed", tmp_path / "open"
    closed.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri Jan 24 00:16:47 2025\nGCC version:\n",
        encoding="utf-8",
    )
    opened.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release\n",
        encoding="utf-8",
    )
    assert read_driver_version(closed) == "570.86.15"
    assert read_driver_version(opened) == "580.65.06"
    assert read_driver_version(tmp_path / "missing") == "unknown"
