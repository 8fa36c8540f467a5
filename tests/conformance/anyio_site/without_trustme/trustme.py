"""What anyio's suite uses of trustme, by the program openssl: for Pythons that trustme's cryptography has no
wheel for."""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from pathlib import Path


def _openssl(*words: str, text: str | None = None) -> None:
    subprocess.run(["openssl", *words], input=text, text=True, capture_output=True, check=True)


class LeafCert:
    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key

    def configure_cert(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._chain, self._key)


class CA:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._count = 0
        _openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=test CA",
            ),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._path / "ca.key"), "-out", str(self._path / "ca.pem")),
        )

    def issue_cert(self, *names: str) -> LeafCert:
        self._count += 1
        stem = self._path / f"leaf{self._count}"
        key, request, chain = (stem.with_suffix(one) for one in (".key", ".csr", ".pem"))
        _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={names[0][:60]}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        alternatives = ",".join(f"DNS:{name.encode('idna').decode()}" for name in names)
        extensions = stem.with_suffix(".ext")
        extensions.write_text(
            f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n"
            "authorityKeyIdentifier=keyid\n"
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", "2", "-CAcreateserial"),
            *("-CA", str(self._path / "ca.pem"), "-CAkey", str(self._path / "ca.key")),
            *("-extfile", str(extensions), "-out", str(chain)),
        )
        return LeafCert(chain, key)

    def configure_trust(self, context: ssl.SSLContext) -> None:
        context.load_verify_locations(self._path / "ca.pem")
