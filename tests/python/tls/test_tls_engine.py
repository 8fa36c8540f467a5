"""Which engine a connection gets, and what makes it another one."""

from __future__ import annotations

import gc
import os
import ssl
import subprocess
import sys
from typing import Any

import pytest
from wire import Contexts, pair

import spargio
from spargio import tls
from spargio.tls import _choice, _native


def chosen_by(value: str) -> subprocess.CompletedProcess[str]:
    program = "from spargio import tls; print(tls.engine().name, '|', tls.engine().reason)"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, _choice.VARIABLE: value},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_chooses() -> None:
    assert chosen_by("memory").stdout == "memory | SPARGIO_TLS_ENGINE asks for it\n"
    wrong = chosen_by("fast")
    assert "SPARGIO_TLS_ENGINE must be native or memory, got 'fast'" in wrong.stderr


def test_the_native_one_where_it_can_be_had(engine: str) -> None:
    if engine != "native":
        pytest.skip("about the native engine")
    done = chosen_by("native")
    assert done.stdout == "native | None\n", done.stderr
    assert chosen_by("").stdout == "native | None\n"


def test_an_ssl_module_within_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    import _ssl

    monkeypatch.setattr(_choice, "_chosen", None)
    monkeypatch.delattr(_ssl, "__file__")
    found = tls.engine()
    assert found.name == "memory"
    assert found.reason is not None and "part of the interpreter" in found.reason
    monkeypatch.setattr(_choice, "_chosen", None)
    monkeypatch.setenv(_choice.VARIABLE, "native")
    with pytest.raises(RuntimeError, match="native engine, which is not available"):
        tls.engine()


class Strange(ssl.SSLContext):
    """Its wrap_bio makes a second SSL object, as a finalizer may at that moment."""

    def wrap_bio(self, *args: Any, **keywords: Any) -> ssl.SSLObject:
        made = super().wrap_bio(*args, **keywords)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_bio(
            ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True
        )
        return made


def test_two_ssl_objects_at_once_are_none_that_is_sure(
    certificate: Any, contexts: Contexts
) -> None:
    async def main() -> None:
        strange = Strange(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(strange)
        async with pair((strange, contexts[1])) as (near, far):
            assert far._engine.name == "memory"
            await near.write_all(b"all the same")
            assert await far.recv(100) == b"all the same"

    spargio.run(main)


def test_errors_are_worded_as_cpython_does() -> None:
    error = _native._make_error(False, 20, "decryption failed or bad record mac")
    assert isinstance(error, ssl.SSLError)
    assert (error.library, error.reason) == ("SSL", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC")
    assert isinstance(_native._make_error(True, 0, None), tls.TruncatedError)


def test_idle_connections_hold_little(contexts: Contexts, engine: str) -> None:
    """Private memory of both sides of a pair; OpenSSL's own is most of it."""

    def private_kib() -> int:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))

    async def main() -> None:
        from contextlib import AsyncExitStack

        async with AsyncExitStack() as stack:

            async def more(count: int) -> None:
                for _ in range(count):
                    near, far = await stack.enter_async_context(pair(contexts))
                    await near.write_all(b"x" * 1000)
                    await far.read_exactly(1000)

            await more(20)
            gc.collect()
            before = private_kib()
            await more(60)
            gc.collect()
            assert (private_kib() - before) / 120 <= 40

    spargio.run(main)
