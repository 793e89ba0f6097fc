"""Containers that somebody's compose file describes: their image built or pulled, run with what the file gives them.

What an ordinary container of ours may not do, one of somebody's may: own user, own files, the engine's usual
capabilities. What it can reach is the same: its own networks, on which there is nobody but Toxiproxy.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import docker.errors
import docker.types

from chaos.errors import Surroundings
from chaos.stacks.docker_engine import asking

if TYPE_CHECKING:
    from docker import DockerClient

    from chaos.topology import Described, Health, Mount


class Files:
    """Files and volumes of one run's containers; `folder` is for files that are made here."""

    def __init__(self, client: DockerClient, run: str, labels: Mapping[str, str], folder: Path) -> None:
        self._client = client
        self._run = run
        self._labels = dict(labels)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._volumes: dict[str, str] = {}
        folder.mkdir(mode=0o755)

    def mounts(self, described: Described) -> list[docker.types.Mount]:
        """Return what the engine is to mount, but for what is memory; made if it is not there yet."""
        return [self._mount(m) for m in described.mounts if m.kind != "tmpfs"]

    def _mount(self, mount: Mount) -> docker.types.Mount:
        source: str | None = mount.source
        if mount.kind == "file":
            path = self._folder / str(next(self._numbers))
            path.write_text(mount.content)
            path.chmod(0o644)
            source = str(path)
        elif mount.kind == "volume":
            source = self._volume(mount.source) if mount.source else None
        kind: Literal["volume", "bind"] = "volume" if mount.kind == "volume" else "bind"
        return docker.types.Mount(mount.target, source, type=kind, read_only=mount.read_only)

    def _volume(self, name: str) -> str:
        if name not in self._volumes:
            self._volumes[name] = f"ownframe-{self._run}-{name}"
            with asking(f"make the volume {self._volumes[name]}"):
                self._client.api.create_volume(self._volumes[name], labels=self._labels)
        return self._volumes[name]


def host(described: Described, mounts: list[docker.types.Mount], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments for the engine's host configuration: those of `ours` that concern networks, and the file's."""
    options = dict(described.options)
    sysctls = {**(ours.get("sysctls") or {}), **options.pop("sysctls", {})}
    return {
        **ours,
        **options,
        "sysctls": sysctls,
        "mounts": mounts,
        "tmpfs": {m.target: m.options for m in described.mounts if m.kind == "tmpfs"},
    }


def container(described: Described) -> dict[str, Any]:
    """Return arguments for the engine's container."""
    given = {
        "entrypoint": list(described.entrypoint) if described.entrypoint is not None else None,
        "command": list(described.command) if described.command is not None else None,
        "user": described.user or None,
        "working_dir": described.working_dir or None,
        "hostname": described.hostname,
        "stop_signal": described.stop_signal or None,
        "environment": described.environment,
        "healthcheck": _health(described.health),
        "tty": described.tty,
        "stdin_open": described.stdin_open,
    }
    return {k: v for k, v in given.items() if v is not None}


def _health(health: Health | None) -> dict[str, Any] | None:
    if health is None:
        return None
    given = {"interval": health.interval, "timeout": health.timeout, "start_period": health.start_period}
    return {"test": list(health.test), "retries": health.retries, **given}


def pull(client: DockerClient, described: Described) -> str:
    """Return the name of an image that is there, pulled if need be; raises `Surroundings` where it cannot be."""
    name = described.image
    with asking(f"look for the image {name}"):
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            pass
        else:
            return name
    try:
        client.images.pull(name)
    except (docker.errors.DockerException, OSError) as silence:
        raise Surroundings(
            f"{described.service} wants the image {name}, which is not there and cannot be pulled ({silence}); build "
            "or load it, or name another"
        ) from None
    return name
