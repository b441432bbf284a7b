"""What, beside the spec, decides the last bits of a result.

Two machines with equal fingerprints give equal weights and pictures; with different ones they agree within a
tolerance. The fingerprint is written into every manifest and receipt.
"""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

_PACKAGES = ("torch", "diffusers", "numpy", "pillow")


def fingerprint(threads: int, dtype: str, device: torch.device | str) -> dict[str, str]:
    """Names and values, sorted by name; `dtype` is the precision's name, such as fp32.

    On a GPU: its model, compute capability, driver, CUDA and cuDNN. On a CPU: its model. Always: the
    instruction set that torch uses, the versions of the packages that compute, threads and precision.
    """
    device = torch.device(device)
    values = {
        "cpu_instruction_set": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "dtype": dtype,
        "threads": str(threads),
        **{package: version(package) for package in _PACKAGES},
        **(_gpu(device) if device.type == "cuda" else {"device": read_cpu_model(Path("/proc/cpuinfo"))}),
    }
    return dict(sorted(values.items()))


def _gpu(device: torch.device) -> dict[str, str]:
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "device": torch.cuda.get_device_name(device),
        "compute_capability": f"{major}.{minor}",
        "driver": read_driver_version(Path("/proc/driver/nvidia/version")),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def read_cpu_model(cpuinfo: Path) -> str:
    """The processor's name, or `unknown` where the kernel does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def read_driver_version(version_file: Path) -> str:
    """NVIDIA's driver as in `NVRM version: NVIDIA UNIX ... 570.86.15 ...`, or `unknown`.

    Containers see the host's file.
    """
    try:
        words = version_file.read_text(encoding="utf-8").partition("\n")[0].split()
    except OSError:
        return "unknown"
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")
