"""An authority of one's own, and the PEM files that it gives out; made by the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Vouches for names and addresses in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = folder / "authority.key"
        self.certificate = folder / "authority.pem"
        _openssl(
            "req", "-x509", *_NEW_KEY, "-noenc", "-days", "3650", "-subj", "/CN=authority",
            "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def store(self, name: str, *, alternatives: str, password: str = "") -> Path:
        """A PEM file with a key and its certificate, for ``alternatives`` such as ``IP:127.0.0.1,DNS:localhost``."""
        key, request, store = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        secret = ["-passout", f"pass:{password}"] if password else ["-noenc"]
        _openssl(
            "req", "-new", *_NEW_KEY, *secret, "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        certificate = _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "3650", "-copy_extensions", "copy",
        )  # fmt: skip
        store.write_bytes(key.read_bytes() + certificate)
        return store


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def _openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60).stdout
