"""nginx as an HTTP responder of one process, which answers the same text; it logs nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SKIPPED: Final = 77

CONFIGURATION: Final = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ default_type text/plain; return 200 "Hello, world!"; }}
    }}
}}
"""


def main() -> None:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        print("no nginx (Debian: nginx-light)", file=sys.stderr)
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(prefix="spargio-nginx-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        path = Path(folder, "nginx.conf")
        path.write_text(CONFIGURATION.format(folder=folder, port=port))
        server = subprocess.Popen([program, "-e", "stderr", "-p", folder, "-c", path])
        try:
            wait_for(port, server)
            print(port, flush=True)
            for line in sys.stdin:
                if line == "usage\n":
                    print(json.dumps(usage(server.pid)), flush=True)
        finally:
            server.kill()
            server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            continue
        return
    sys.exit(f"nginx ended with {server.returncode}")


def usage(pid: int) -> dict[str, int]:
    """The scheduler's clock for the sum, which is exact; ticks for its division."""
    total_us = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) // 1000
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    user, system = int(words[11]), int(words[12])
    user_us = total_us * user // (user + system or 1)
    return {"user_us": user_us, "system_us": total_us - user_us}


if __name__ == "__main__":
    main()
