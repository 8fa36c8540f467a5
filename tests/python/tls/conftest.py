"""Certificates of an authority of our own, contexts, and both engines: every test runs on each."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Names

from spargio.tls import _choice


@pytest.fixture(scope="session")
def authority() -> Any:
    """trustme's, or one by the program openssl where trustme cannot be installed."""
    if importlib.util.find_spec("trustme") is None:
        if shutil.which("openssl") is None:
            pytest.skip("certificates are made by trustme or openssl, and neither is installed")
        sys.path.append(str(Path(__file__).parents[2] / "without_trustme"))
    return importlib.import_module("trustme").CA()


@pytest.fixture(scope="session")
def certificate(authority: Any) -> Any:
    return authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def names(authority: Any, certificate: Any, tmp_path_factory: pytest.TempPathFactory) -> Names:
    folder = tmp_path_factory.mktemp("certificates")
    chain, key, trust = folder / "chain.pem", folder / "key.pem", folder / "authority.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trust))
    return Names(chain, key, trust)


@pytest.fixture(params=["native", "memory"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name: str = request.param
    if name == "native":
        monkeypatch.setattr(_choice, "_chosen", None)
        found = _choice.engine()
        if found.name != "native":
            pytest.skip(f"no native engine here: {found.reason}")
    else:
        monkeypatch.setattr(_choice, "_chosen", _choice.EngineInfo(name, "the test asks for it"))
    yield name


@pytest.fixture
def server_context(certificate: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def contexts(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return server_context, client_context


@pytest.fixture(params=["TLSv1_3", "TLSv1_2"])
def versioned(
    request: pytest.FixtureRequest, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    contexts[1].maximum_version = ssl.TLSVersion[request.param]
    return contexts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
