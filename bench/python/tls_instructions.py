"""What a full TLS handshake costs a server, in user instructions: the connection, the handshake, 16
bytes echoed, the close. Counted by callgrind, so that other work on the machine does not matter.

    python bench/python/tls_instructions.py [SERVER...]

It needs valgrind and trustme; uvloop and aiofastnet leave their rows out. The target is at most
1.0x of uvloop's Protocol. What the kernel does is not counted: the rows tls_handshakes of run.py
have the CPU time."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import processes
import tls_rows

FEW: Final = 10
MANY: Final = 60
PAYLOAD: Final = bytes(16)
LIMIT_S: Final = 120
NEEDS: Final = {"uvloop": "uvloop", "aiofastnet": "aiofastnet"}


def handshakes(port: int, folder: Path, count: int) -> None:
    for _ in range(count):
        # A context of its own has no session that could be resumed.
        context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
        with (
            socket.create_connection(("127.0.0.1", port), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as stream,
        ):
            stream.sendall(PAYLOAD)
            found = b""
            while len(found) < len(PAYLOAD):
                found += stream.recv(len(PAYLOAD))
            assert not stream.session_reused


def instructions(server: str, folder: Path, count: int) -> int:
    """All that the server's process executes, from its start to its end."""
    out = folder / "callgrind.out"
    program = processes.python(
        tls_rows.HERE / "servers" / "tls_server.py", *tls_rows.SERVERS[server], str(folder)
    )
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *program]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        handshakes(int(process.stdout.readline()), folder, count)
        process.stdin.close()
        process.stdin = None
        _, errors = process.communicate(timeout=LIMIT_S)
    counted = re.search(r"Collected : (\d+)", errors)
    if counted is None:
        raise SystemExit(f"tls_instructions.py: {server}: {errors[-2000:]}")
    return int(counted[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    default = [tls_rows.PROTOCOL, tls_rows.SPARGIO, tls_rows.LOOP, tls_rows.FAST]
    parser.add_argument("servers", nargs="*", choices=[[], *tls_rows.SERVERS], default=[])
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="spargio-bench-") as name:
        tls_rows.certificates(Path(name))
        for server in parser.parse_args().servers or default:
            missing = [
                package
                for word, package in NEEDS.items()
                if word in tls_rows.SERVERS[server] and importlib.util.find_spec(package) is None
            ]
            if missing:
                print(f"{server:20} left out: no {missing[0]}", flush=True)
                continue
            many, few = (instructions(server, Path(name), count) for count in (MANY, FEW))
            found[server] = (many - few) / (MANY - FEW)
            protocol = found.get(tls_rows.PROTOCOL)
            shown = f" {found[server] / protocol:5.2f}x uvloop's Protocol" if protocol else ""
            print(f"{server:20} {found[server] / 1e6:8.3f} million a handshake{shown}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
