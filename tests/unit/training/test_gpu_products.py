"""What a head knows of a card that it has not, from the label of the nodes that have it."""

import pytest

from synthray.training.gpu_products import find_compute_capability


@pytest.mark.parametrize(
    ("product", "capability"),
    [
        ("Quadro-RTX-6000", (7, 5)),
        ("Tesla-T4", (7, 5)),
        ("Tesla-T4-SHARED", (7, 5)),
        ("Tesla-V100-SXM2-32GB", (7, 0)),
        ("Tesla-P100-PCIE-16GB", (6, 0)),
        ("Tesla-P40", (6, 1)),
        ("NVIDIA-A100-SXM4-80GB", (8, 0)),
        ("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", (8, 0)),
        ("NVIDIA-A10G", (8, 6)),
        ("NVIDIA-RTX-A6000", (8, 6)),
        ("NVIDIA-RTX-6000-Ada-Generation", (8, 9)),
        ("NVIDIA-L40S", (8, 9)),
        ("NVIDIA-GeForce-RTX-4090", (8, 9)),
        ("NVIDIA-H100-80GB-HBM3", (9, 0)),
        ("NVIDIA-H200", (9, 0)),
        ("NVIDIA-B200", (10, 0)),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", (12, 0)),
        ("Some-Card", None),
        ("AMD-Instinct-MI300X", None),
    ],
)
def test_products_and_their_compute_capabilities(product: str, capability: tuple[int, int] | None) -> None:
    assert find_compute_capability(product) == capability
