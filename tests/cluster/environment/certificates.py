"""Keys, certificates and kubeconfigs of a control plane, by openssl."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import run_command

_VALID_DAYS = "3650"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
CLUSTER_CA = "ca"
FRONT_PROXY_CA = "front-proxy-ca"
SERVICE_ACCOUNTS = "sa"


@dataclass(frozen=True)
class KeyPair:
    """A private key and its certificate, as files."""

    key: Path
    certificate: Path


@dataclass(frozen=True)
class KeyRing:
    """A folder of keys; what is there already is never made anew."""

    folder: Path

    def find(self, name: str) -> KeyPair:
        """Where the pair of that name is."""
        return KeyPair(self.folder / f"{name}.key", self.folder / f"{name}.crt")

    def make_authority(self, name: str) -> KeyPair:
        """A certificate that signs others."""
        pair = self.find(name)
        if not pair.certificate.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._openssl(
                "req", "-x509", *_CURVE, "-days", _VALID_DAYS, "-subj", f"/CN={name}",
                "-keyout", pair.key, "-out", pair.certificate,
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
            )  # fmt: skip
        return pair

    def make_service_account_keys(self) -> tuple[Path, Path]:
        """The private and the public key of service account tokens."""
        private, public = self.folder / f"{SERVICE_ACCOUNTS}.key", self.folder / f"{SERVICE_ACCOUNTS}.pub"
        if not public.exists():
            self._openssl("genrsa", "-out", private, "2048")
            self._openssl("rsa", "-in", private, "-pubout", "-out", public)
        return private, public

    def make_pair(
        self, name: str, *, user: str, group: str = "", hosts: Sequence[str] = (), authority: str = CLUSTER_CA
    ) -> KeyPair:
        """A pair for a client and, with `hosts`, for a server of these names and addresses."""
        pair = self.find(name)
        if pair.certificate.exists():
            return pair
        extensions = "extendedKeyUsage=clientAuth,serverAuth\nkeyUsage=digitalSignature\n"
        if hosts:
            kinds = (f"{'IP' if host[0].isdigit() else 'DNS'}:{host}" for host in hosts)
            extensions += f"subjectAltName={','.join(kinds)}\n"
        request = self.folder / f"{name}.csr"
        subject = (f"/O={group}" if group else "") + f"/CN={user}"
        self._openssl("req", *_CURVE, "-keyout", pair.key, "-out", request, "-subj", subject)
        signer = self.find(authority)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", signer.certificate, "-CAkey", signer.key,
            "-CAcreateserial", "-days", _VALID_DAYS, "-out", pair.certificate, "-extfile", "/dev/stdin",
            given=extensions,
        )  # fmt: skip
        return pair

    def write_kubeconfig(self, path: Path, *, url: str, name: str, user: str, group: str = "") -> Path:
        """A kubeconfig with everything inside it, so that it can be handed on."""
        pair = self.make_pair(name, user=user, group=group)
        cluster = {
            "server": url,
            "certificate-authority-data": _encode(self.find(CLUSTER_CA).certificate),
        }
        client = {
            "client-certificate-data": _encode(pair.certificate),
            "client-key-data": _encode(pair.key),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "synthray",
            "clusters": [{"name": "synthray", "cluster": cluster}],
            "users": [{"name": name, "user": client}],
            "contexts": [{"name": "synthray", "context": {"cluster": "synthray", "user": name}}],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        # In one go: others may be reading it.
        whole = path.with_suffix(".new")
        whole.touch(mode=0o600)
        whole.write_text(json.dumps(document, indent=1))
        return whole.rename(path)

    @staticmethod
    def _openssl(*arguments: str | Path, given: str | None = None) -> None:
        run_command(["openssl", *arguments], given=given.encode() if given else None)


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
