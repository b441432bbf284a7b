"""buildah on the environment's own store, and the images that are built here: no registry is asked.

The project's images come from its own Dockerfile; its base is Debian by debootstrap from the mirror that this
machine's apt uses.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from synthray.errors import InvalidInput, Unavailable

from .commands import run_command
from .image_store import has_image
from .places import SOURCES, Places

BASE_IMAGE = "localhost/python-base:bookworm"
TARGETS = ("operator", "worker", "storage")
_BASE_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates,wget,curl,procps"
_RELEASE = "bookworm"
_PROJECT = SOURCES.parents[2]
_CERTIFICATES = Path("/etc/ssl/certs")
# Nobody's, as distroless images have it.
_NOBODY = "65532:65532"


def build_buildah_command(places: Places, arguments: Sequence[str | Path]) -> list[str]:
    """buildah with this environment's store."""
    store = [f"--root={places.images}", f"--runroot={places.images_in_use}"]
    return ["buildah", *store, *(str(argument) for argument in arguments)]


def buildah(places: Places, *arguments: str | Path) -> str:
    """Run it; its standard output."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return run_command(build_buildah_command(places, arguments), environment=environment)


def make_program_image(places: Places, image: str, program: str, path: str) -> None:
    """An image that is one static binary, where it is missing."""
    if has_image(places.images, image):
        return
    container = buildah(places, "from", "scratch").strip()
    buildah(places, "copy", container, places.programs / program, path)
    buildah(places, "config", "--user", _NOBODY, "--entrypoint", json.dumps([path]), container)
    buildah(places, "commit", "--rm", "-q", container, image)


def make_base_image(places: Places, say: Callable[[str], None]) -> None:
    """Debian with Python, where it is missing; about a minute."""
    if has_image(places.images, BASE_IMAGE):
        return
    root = places.state / "rootfs"
    shutil.rmtree(root, ignore_errors=True)
    run_command(
        ["debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", _RELEASE, root, _find_mirror()]
    )
    for path in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
        path.unlink()
    path_variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    container = buildah(places, "from", "scratch").strip()
    buildah(places, "copy", container, root, "/")
    buildah(places, "config", "--env", path_variable, "--cmd", "bash", container)
    buildah(places, "commit", "--rm", "-q", container, BASE_IMAGE)
    shutil.rmtree(root)
    say(f"built {BASE_IMAGE}")


def build_project_image(places: Places, target: str, image: str, *, revision: str) -> None:
    """One target of the Dockerfile; layers whose files have not changed are taken from the last build."""
    command = [
        "build", "--layers", "--isolation", "chroot",
        # Installs trust whom this machine trusts.
        "--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro",
        "--env", f"SSL_CERT_FILE={_CERTIFICATES / 'ca-certificates.crt'}",
        "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--build-arg", f"REVISION={revision}",
        "--target", target, "--tag", image, str(_PROJECT),
    ]  # fmt: skip
    if subprocess.run(build_buildah_command(places, command), check=False).returncode:
        raise Unavailable(f"{image} was not built; what buildah says about it stands above")


def name_project_image(prefix: str, target: str, tag: str) -> str:
    """An image of this machine's alone; raises InvalidInput for a tag that nodes would try to pull."""
    if tag == "latest":
        raise InvalidInput("the tag latest makes every node ask a registry; name another one")
    return f"localhost/{prefix.removeprefix('localhost/')}/{target}:{tag}"


def _find_mirror() -> str:
    targets = run_command(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"])
    for line in targets.splitlines():
        mirror, _, names = line.partition(" ")
        if names == f"{_RELEASE} main":
            return mirror
    raise Unavailable(f"apt on this machine knows no mirror of Debian {_RELEASE}")
