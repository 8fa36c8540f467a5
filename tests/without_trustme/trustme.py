"""What the tests use of trustme, by the program openssl: for Pythons that trustme's cryptography has
no wheel for."""

from __future__ import annotations

import atexit
import ipaddress
import shutil
import ssl
import subprocess
import tempfile
from datetime import datetime, timezone
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], capture_output=True, check=True)


class Blob:
    def __init__(self, path: Path) -> None:
        self._path = path

    def bytes(self) -> bytes:
        return self._path.read_bytes()

    def write_to_path(self, path: str) -> None:
        shutil.copyfile(self._path, path)


class LeafCert:
    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.cert_chain_pems = [Blob(chain)]
        self.private_key_pem = Blob(key)

    def configure_cert(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._chain, self._key)


class CA:
    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, self._path, ignore_errors=True)
        self._count = 0
        self.cert_pem = Blob(self._path / "ca.pem")
        _openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=test CA"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._path / "ca.key"), "-out", str(self._path / "ca.pem")),
        )

    def issue_cert(self, *names: str, not_after: datetime | None = None) -> LeafCert:
        """Valid for two days from now on; `not_after` in the past makes one that ended a day ago."""
        self._count += 1
        stem = self._path / f"leaf{self._count}"
        key, request, chain = (stem.with_suffix(one) for one in (".key", ".csr", ".pem"))
        _openssl(
            *("req", *_KEY, "-subj", f"/CN={names[0][:60]}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        extensions = stem.with_suffix(".ext")
        extensions.write_text(
            f"subjectAltName={','.join(map(_alternative, names))}\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
            "authorityKeyIdentifier=keyid\n"
        )
        over = not_after is not None and not_after < datetime.now(timezone.utc)
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", "-1" if over else "2"),
            *("-CA", str(self._path / "ca.pem"), "-CAkey", str(self._path / "ca.key")),
            *("-CAcreateserial", "-extfile", str(extensions), "-out", str(chain)),
        )
        return LeafCert(chain, key)

    def configure_trust(self, context: ssl.SSLContext) -> None:
        context.load_verify_locations(self._path / "ca.pem")


def _alternative(name: str) -> str:
    if "@" in name:
        return f"email:{name}"
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name.encode('idna').decode()}"
