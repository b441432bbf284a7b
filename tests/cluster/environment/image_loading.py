"""Gives an image of the store to nodes: each holds it by hard links, so it lies on the disk once.

Nodes share no containerd: each has its metadata and its garbage collection. Overlayfs copies a file before it
writes to it, so no container can change what is shared. What this does not show is a real pull.
"""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .commands import run_command, succeeds
from .image_store import StoredImage, build_archive_without_layers, read_image
from .nodes import Node


def load_image(store: Path, name: str, nodes: Sequence[Node]) -> list[str]:
    """Give the image to the nodes that run; their names."""
    image = read_image(store, name)
    running = [node for node in nodes if node.is_running]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: _give(image, node), running))
    return [node.name for node in running]


def _give(image: StoredImage, node: Node) -> None:
    ctr = ["ctr", "--address", node.containerd_socket, "--namespace", "k8s.io"]
    parent: list[str] = []
    for layer in image.layers:
        if not succeeds([*ctr, "snapshots", "info", layer.chain_id]):
            key = f"load-{os.getpid()}-{layer.chain_id}"
            run_command([*ctr, "snapshots", "prepare", key, *parent])
            mount = run_command([*ctr, "snapshots", "mounts", "/mnt", key])
            inside = parse_upper_folder(mount).relative_to("/var/lib")
            _link_all(layer.files, node.folder / "var-lib" / inside)
            run_command([*ctr, "snapshots", "commit", layer.chain_id, key])
        parent = [layer.chain_id]
    run_command([*ctr, "images", "import", "--no-unpack", "-"], given=build_archive_without_layers(image))
    # From now on the image holds its snapshots; removing the image frees them.
    label = f"containerd.io/gc.ref.snapshot.overlayfs={image.layers[-1].chain_id}"
    run_command([*ctr, "content", "label", image.configuration_digest, label])
    for layer in image.layers:
        run_command([*ctr, "snapshots", "label", layer.chain_id, "containerd.io/gc.root="])


def parse_upper_folder(mount: str) -> Path:
    """The folder to fill.

    From `mount -t overlay overlay /mnt -o ...,upperdir=FOLDER,...` or `mount -t bind FOLDER /mnt -o ...`.
    """
    words = mount.split()
    options = dict(option.partition("=")[::2] for option in words[-1].split(","))
    return Path(options.get("upperdir", words[3]))


def _link_all(source: Path, target: Path) -> None:
    """Hard links, or a copy where the disks differ."""
    linked = subprocess.run(["cp", "-al", f"{source}/.", f"{target}/"], capture_output=True, check=False)
    if linked.returncode:
        run_command(["cp", "-a", f"{source}/.", f"{target}/"])
