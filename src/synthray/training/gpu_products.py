"""What a card can do, from the name of its product: the head of a cluster has no card to ask.

Names are those of the node label `nvidia.com/gpu.product`, as NVIDIA's feature discovery writes them.
"""

import re

# CUDA's compute capabilities, by words of the product's name; the first that fits counts.
_BY_NAME: tuple[tuple[str, tuple[int, int]], ...] = (
    (r"RTX-PRO-\d+-Blackwell|RTX-50\d\d", (12, 0)),
    (r"GB300|B300", (10, 3)),
    (r"GB200|B200|B100", (10, 0)),
    (r"GH200|H200|H100|H800|H20", (9, 0)),
    (r"Ada-Generation|L40S?|L4|L20|L2|RTX-40\d\d", (8, 9)),
    (r"A10G?|A16|A2|A40|RTX-A\d+|RTX-30\d\d", (8, 6)),
    (r"A100|A800|A30", (8, 0)),
    (r"Quadro-RTX-\d+|TITAN-RTX|T4G?|T\d+0{2,}|RTX-20\d\d|GTX-16\d\d", (7, 5)),
    (r"V100|TITAN-V|Quadro-GV100", (7, 0)),
    (r"P100|GP100", (6, 0)),
    (r"P40|P4|GTX-10\d\d", (6, 1)),
)


def find_compute_capability(product: str) -> tuple[int, int] | None:
    """CUDA's compute capability of a product; None for one that is not known here."""
    for words, capability in _BY_NAME:
        if re.search(rf"(^|-)({words})(-|$)", product, re.IGNORECASE):
            return capability
    return None
