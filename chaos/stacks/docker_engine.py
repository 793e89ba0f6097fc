"""The Docker engine: found and able, its errors as sentences, whose things are whose, and what dead runs left.

Everything that a run makes carries two labels. ``ownframe.run`` is the run's own; ``ownframe.owner`` names the process
that answers for it, as boot id, process-id namespace, process id and start time, so that it can be said for certain
that it is dead: only then is anything removed that is not this run's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import docker
import docker.errors
import msgspec
import urllib3.exceptions

from chaos.errors import Surroundings

if TYPE_CHECKING:
    from docker import DockerClient

OLDEST_API = (1, 40)
"""Docker 19.03. Tried: 1.41 (20.10)."""
RUN, OWNER = "ownframe.run", "ownframe.owner"
_PATIENCE = 120
"""Seconds for one answer of the engine; a container that starts beside ten others took up to 4 (measured)."""
_HELP = (
    "start one (`systemctl start docker`, Docker Desktop), or set DOCKER_HOST; in a clone of ownframe, "
    "`.ci/engine start` runs one of its own; --stack process needs none"
)
_ABANDONED = 600.0
"""Seconds after which what another boot of this machine made, and what does not run, is nobody's any more."""

_T = TypeVar("_T")
_I = TypeVar("_I")


def connect() -> DockerClient:
    """Return a client of an engine that can run homes; raises `Surroundings` that says what is missing.

    The engine must be on this very kernel, with a network that this process shares: the harness reaches nodes at their
    own addresses, which neither Docker Desktop nor a rootless engine gives to the host.
    """
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        client = docker.from_env(timeout=_PATIENCE, max_pool_size=64)
        version, about = client.version(), client.info()
    except (docker.errors.DockerException, OSError, urllib3.exceptions.HTTPError) as silence:
        raise Surroundings(_silent(where, silence)) from None
    api = tuple(int(part) for part in version["ApiVersion"].split("."))
    if api < OLDEST_API:
        raise Surroundings(
            f"the engine on {where} speaks API {version['ApiVersion']} (Docker {version['Version']}); expected "
            f"{'.'.join(map(str, OLDEST_API))} or newer; install Docker 20.10 or newer, or use --stack process"
        )
    options = " ".join(about.get("SecurityOptions") or ())
    kind = "Docker Desktop" if "Desktop" in about.get("OperatingSystem", "") else ""
    kind = kind or ("a rootless engine" if "rootless" in options else "")
    if kind or about.get("OSType") != "linux":
        raise Surroundings(
            f"the engine on {where} is {kind or about.get('OSType')}, whose containers have no address that this "
            "machine can reach; use an engine on Linux itself, or --stack process"
        )
    return client


def describe() -> str:
    """Return one line about the engine, for ``ownframe doctor``; raises as `connect` does."""
    with contextlib.closing(connect()) as client, asking("tell its version"):
        version = client.version()
        return f"Docker {version['Version']}, API {version['ApiVersion']}"


def absent_images(names: tuple[str, ...]) -> list[str]:
    """Return which of these images the engine has not; raises `Surroundings` as `connect` does."""
    absent = []
    with contextlib.closing(connect()) as client:
        for name in names:
            with asking(f"look for the image {name}"):
                try:
                    client.images.get(name)
                except docker.errors.ImageNotFound:
                    absent.append(name)
    return absent


def _silent(where: str, silence: Exception) -> str:
    if "ermission denied" in str(silence):
        return f"this user may not speak to the engine on {where}; add the user to the group of that socket (docker)"
    if "too old" in str(silence) or "no longer supported" in str(silence):
        return f"the engine on {where} is too old ({silence}); install Docker 20.10 or newer, or use --stack process"
    return f"no Docker engine answers on {where} ({_inner(silence)}); {_HELP}"


def _inner(silence: BaseException) -> str:
    """Return the last phrase of an error that wraps others: the one that says something."""
    found = re.findall(r"(No such file or directory|Connection refused|[Tt]imed out)", str(silence))
    return found[-1] if found else str(silence)[:200]


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn whatever the engine answers or does not answer to `what` into `Surroundings`."""
    try:
        yield
    except docker.errors.APIError as refused:
        said = str(refused.explanation or refused)
        if "no space left on device" in said.lower():
            raise Surroundings(
                f"the engine's disk is full: {what} failed with {said!r}; free some space (docker system df shows "
                "what takes it), then start the run again"
            ) from None
        raise Surroundings(f"the engine did not {what}: {said}") from None
    except (docker.errors.DockerException, OSError, urllib3.exceptions.HTTPError) as silence:
        where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        raise Surroundings(
            f"the engine on {where} stopped answering when asked to {what} ({_inner(silence)}); look at its log, start "
            "it, and start the run again: the next run removes what this one leaves"
        ) from None


def each(do: Callable[[_I], _T], items: Iterable[_I], threads: int = 8) -> list[_T]:
    """Do something for each item in threads; returns the results in order, or raises the first error when all ended."""
    todo = list(items)
    if not todo:
        return []
    with ThreadPoolExecutor(min(threads, len(todo)), thread_name_prefix="ownframe-docker") as pool:
        return list(pool.map(do, todo))


class Owner(msgspec.Struct, frozen=True):
    """The process that answers for what a run made."""

    boot: str
    namespace: str
    process: int
    started: int
    """In clock ticks since boot, as the kernel counts (proc(5), stat, field 22)."""

    def __str__(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.process}/{self.started}"

    @classmethod
    def me(cls) -> Owner:
        """Return this process."""
        started = _started(os.getpid())
        assert started is not None, "this process has a start"
        return cls(_boot(), _namespace(), os.getpid(), started)

    @classmethod
    def read(cls, label: str) -> Owner | None:
        """Return what a label says, or None for one that says something else."""
        found = re.fullmatch(r"([^/]+)/([^/]+)/(\d+)/(\d+)", label)
        return cls(found[1], found[2], int(found[3]), int(found[4])) if found else None

    @property
    def dead(self) -> bool:
        """Whether that process is certainly gone: of another namespace or machine nothing is certain."""
        if (self.boot, self.namespace) != (_boot(), _namespace()):
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's process; its start is still told, unless /proc hides it
        started = _started(self.process)
        return started is not None and started != self.started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _started(process: int) -> int | None:
    """Return a process's start, or None where the kernel does not tell; a zombie has none."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return -1 if state in "ZX" else int(fields[18])


def labels(run: str) -> dict[str, str]:
    """Return the labels of everything that a run of this process makes."""
    return {RUN: run, OWNER: str(Owner.me())}


def new_run() -> str:
    """Return a name that no other run has, on any machine that shares the engine."""
    return uuid.uuid4().hex[:10]


def remove_run(client: DockerClient, run: str) -> None:
    """Remove every container and network of a run; what is gone already is well."""
    _remove(client, f"{RUN}={run}")


def clear_leftovers(client: DockerClient) -> list[str]:
    """Remove what runs left whose process is certainly dead, and return one line about each such run.

    What another boot of this machine made is removed too, once none of it runs and it is ten minutes old: this engine
    was then started anew with it. Whatever is in doubt stays; `docker ps -a --filter label=ownframe.run` shows it.
    """
    with asking("list what runs left"):
        filters = {"label": OWNER}
        containers = client.api.containers(all=True, filters=filters)
        networks = client.api.networks(filters=filters)
        volumes = [
            v | {"Created": v.get("CreatedAt", "")} for v in client.api.volumes(filters=filters)["Volumes"] or ()
        ]
    runs: dict[str, list[dict[str, object]]] = defaultdict(list)
    for thing in (*containers, *networks, *volumes):
        runs[thing["Labels"].get(RUN, "")].append(thing)
    cleared = []
    for run, things in sorted(runs.items()):
        owners = [Owner.read(t["Labels"][OWNER]) for t in things]  # type: ignore[index]
        if run and all(o is not None and (o.dead or _abandoned(o, things)) for o in owners):
            assert owners[0] is not None
            remove_run(client, run)
            cleared.append(f"run {run} of process {owners[0].process}: {len(things)} containers and networks removed")
    return cleared


def _abandoned(owner: Owner, things: list[dict[str, object]]) -> bool:
    if owner.boot == _boot() or any(t.get("State") == "running" for t in things):
        return False
    return all(time.time() - _created(t["Created"]) > _ABANDONED for t in things)


def _created(told: object) -> float:
    """Return seconds since 1970: a container tells them, a network a date with nanoseconds."""
    return told if isinstance(told, int) else datetime.fromisoformat(f"{str(told)[:19]}+00:00").timestamp()


def _remove(client: DockerClient, label: str) -> None:
    def container(thing: dict[str, str]) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            try:
                client.api.remove_container(thing["Id"], force=True, v=True)
            except docker.errors.APIError as refused:
                if refused.status_code != 409:  # somebody else is removing it right now
                    raise

    def network(thing: dict[str, str]) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                client.api.remove_network(thing["Id"])
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as refused:
                # its last container is being removed by somebody else
                if refused.status_code != 403 or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def volume(thing: dict[str, str]) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            client.api.remove_volume(thing["Name"])

    with asking("remove a run's containers and networks"):
        filters = {"label": label}
        each(container, client.api.containers(all=True, filters=filters))
        each(network, client.api.networks(filters=filters))
        each(volume, client.api.volumes(filters=filters)["Volumes"] or ())
