"""What buildah's store holds of an image, read without asking buildah.

The store keeps every layer unpacked in a folder of its own, so a node can be given hard links to it.
"""

import base64
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthray.errors import InvalidInput


@dataclass(frozen=True)
class Layer:
    """An unpacked layer; its chain id names it together with all layers below it."""

    chain_id: str
    files: Path


@dataclass(frozen=True)
class StoredImage:
    """An image as it lies in the store, layers lowest first."""

    name: str
    manifest: bytes
    configuration: bytes
    layers: tuple[Layer, ...]

    @property
    def configuration_digest(self) -> str:
        """How containerd calls the configuration."""
        return digest(self.configuration)


def digest(content: bytes) -> str:
    """As registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def has_image(store: Path, name: str) -> bool:
    """Whether the store has an image of exactly that name."""
    return _find_record(store, name) is not None


def read_image(store: Path, name: str) -> StoredImage:
    """The image; raises InvalidInput if the store has none of that name."""
    record = _find_record(store, name)
    if record is None:
        raise InvalidInput(f"no image {name} in {store}; `make image` builds synthray's")
    folder = store / "overlay-images" / record["id"]
    manifest = (folder / "manifest").read_bytes()
    configuration_name = base64.b64encode(f"sha256:{record['id']}".encode()).decode()
    configuration = (folder / f"={configuration_name}").read_bytes()
    by_id = {layer["id"]: layer for layer in _read_list(store / "overlay-layers" / "layers.json")}
    stack: list[dict[str, Any]] = []
    above = by_id.get(record["layer"])
    while above is not None:
        stack.insert(0, above)
        above = by_id.get(above.get("parent", ""))
    contents = json.loads(configuration)["rootfs"]["diff_ids"]
    if contents != [layer["diff-digest"] for layer in stack]:
        raise InvalidInput(
            f"the layers of {name} in {store} are not those of its configuration; build it anew"
        )
    folders = [store / "overlay" / layer["id"] / "diff" for layer in stack]
    layers = tuple(map(Layer, chain_digests(contents), folders))
    return StoredImage(name, manifest, configuration, layers)


def chain_digests(contents: list[str]) -> list[str]:
    """The chain id of each layer: the digest of the chain below and of the layer's own content."""
    chains: list[str] = []
    for content in contents:
        chains.append(digest(f"{chains[-1]} {content}".encode()) if chains else content)
    return chains


def build_archive_without_layers(image: StoredImage) -> bytes:
    """An OCI archive of a few kilobytes: layers go to nodes as unpacked snapshots."""
    manifest_digest = digest(image.manifest)
    media_type = json.loads(image.manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    entry = {
        "mediaType": media_type,
        "digest": manifest_digest,
        "size": len(image.manifest),
        "annotations": {"io.containerd.image.name": image.name},
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        _blob_path(manifest_digest): image.manifest,
        _blob_path(image.configuration_digest): image.configuration,
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _blob_path(blob: str) -> str:
    return f"blobs/{blob.replace(':', '/')}"


def _find_record(store: Path, name: str) -> dict[str, Any] | None:
    images = _read_list(store / "overlay-images" / "images.json")
    return next((image for image in images if name in (image.get("names") or [])), None)


def _read_list(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())) if path.exists() else []
