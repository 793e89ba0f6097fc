"""Containers of a run: what they may do, their output in a file as it comes, their end noticed without asking."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import msgspec
import urllib3.exceptions
from docker.types import LogConfig

from chaos.errors import Surroundings
from chaos.stacks import docker_described
from chaos.stacks.docker_engine import asking
from chaos.topology import Described

if TYPE_CHECKING:
    from docker import DockerClient

READY_WITHIN = 120.0
"""Seconds; on two busy cores three homes took up to 5 (measured), and cameras whose FFmpegs came from a disk that was
busy with the image just built more than 60 (seen, twice). Whoever ended is told of at once."""
USER = "10001:10001"
_NOBODY = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): a name server that nobody is, so that names of the internet are not asked for in the host's
name, as engines before 25.0.5 do on internal networks (CVE-2024-29018)."""
_QUIET, _LATE = 0.02, 0.15
_AGAIN = 0.1
_FREEZING = 10.0
_LINES = 12


class Endpoint(msgspec.Struct, frozen=True):
    """A network that a container is on, its address there, and the names that others there know it by."""

    network: str
    address: str
    names: tuple[str, ...] = ()


class Spec(msgspec.Struct, frozen=True):
    """What a container is made of. `shares`: the container whose network it uses."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}
    endpoints: tuple[Endpoint, ...] = ()
    shares: str | None = None
    mounts: Mapping[str, str] = {}
    """Folders of this machine by where the container sees them, for reading."""
    sysctls: Mapping[str, str] = {}
    """Settings of its network's kernel, beside those that every container has."""
    capabilities: tuple[str, ...] = ()
    """What it may beyond other containers, which may nothing; it then has the user 0, since others keep none."""
    memory_mb: int = 256
    """A relay of three homes under load took 45 (measured)."""
    tmp_mb: int = 32
    processes: int = 128
    described: Described | None = None
    """What somebody's file says of it, in place of what our own containers may."""
    files: tuple[object, ...] = ()
    """What is mounted into such a one, as the engine's client has it."""


class Container:
    """One container; made at once, started by `start` as often as it was killed."""

    def __init__(self, client: DockerClient, spec: Spec, labels: Mapping[str, str], log: Path) -> None:
        self.name = spec.name
        self.log = log
        self._client = client
        self._follower: threading.Thread | None = None
        self._heard = 0.0
        self._meant = True  # that it does not run
        self._restarts = spec.described is not None and spec.described.restarts
        self._starting = threading.Lock()
        log.touch()
        with asking(f"make the container {spec.name}"):
            self.id = _create(client, spec, labels)

    def start(self) -> None:
        """Start it, every word that it says going to the log."""
        with asking(f"start the container {self.name}"):
            output = self._attached()
            self._follower = threading.Thread(target=self._follow, args=(output,), name=f"log-{self.name}", daemon=True)
            self._follower.start()
            self._meant = False
            self._client.api.start(self.id)

    def _attached(self) -> Iterable[bytes]:
        output: Iterable[bytes] = self._client.api.attach(self.id, stdout=True, stderr=True, stream=True, logs=False)
        return output

    def kill(self) -> None:
        """Kill it, and return when it has ended; harmless when it has already."""
        with self._starting:
            self._meant = True
        with asking(f"kill the container {self.name}"):
            try:
                self._client.api.kill(self.id)
            except docker.errors.APIError as refused:
                if refused.status_code not in (404, 409):  # it is gone, or has ended
                    raise
            else:
                self._client.api.wait(self.id)
        if self._follower is not None:
            self._follower.join(2.0)

    def remove(self) -> None:
        """Kill it and remove it; its log stays."""
        self.kill()
        with asking(f"remove the container {self.name}"), contextlib.suppress(docker.errors.NotFound):
            self._client.api.remove_container(self.id, force=True)

    def run(self, command: Sequence[str]) -> None:
        """Run a command in it, as its user; `Surroundings` when it fails."""
        with asking(f"run {' '.join(command)} in {self.name}"):
            made = self._client.api.exec_create(self.id, list(command))
            said = self._client.api.exec_start(made["Id"])
            code = self._client.api.exec_inspect(made["Id"])["ExitCode"]
        if code:
            last = said.decode(errors="replace")[-500:]
            raise Surroundings(f"{' '.join(command)} in {self.name} ended with {code}; it said:\n{last}")

    def pause(self) -> None:
        """Let it stand still, by the kernel's freezer; harmless when it does."""
        deadline = time.monotonic() + _FREEZING
        with asking(f"pause the container {self.name}"):
            while not self.state()["Paused"]:
                try:
                    self._client.api.pause(self.id)
                except docker.errors.APIError as refused:
                    # on a starved machine the kernel's freezer does not catch every thread before runc gives up
                    if "unable to freeze" not in str(refused.explanation) or time.monotonic() > deadline:
                        raise

    def resume(self) -> None:
        """Let it go on; harmless when it runs."""
        with asking(f"resume the container {self.name}"):
            if self.state()["Paused"]:
                self._client.api.unpause(self.id)

    def connect(self, endpoint: Endpoint) -> None:
        """Put it on a network; raises `Surroundings` when it is there."""
        with asking(f"put the container {self.name} on the network {endpoint.network}"):
            self._client.api.connect_container_to_network(
                self.id, endpoint.network, ipv4_address=endpoint.address, aliases=list(endpoint.names)
            )

    def disconnect(self, network: str) -> None:
        """Take it off a network; harmless when it is not there."""
        with asking(f"take the container {self.name} off the network {network}"):
            if network in self.addresses():
                self._client.api.disconnect_container_from_network(self.id, network)

    def image(self) -> str:
        """Return the digest of its image."""
        with asking(f"say which image the container {self.name} runs"):
            return str(self._client.api.inspect_container(self.id)["Image"])

    def state(self) -> dict[str, object]:
        """Return what the engine says of its state."""
        with asking(f"say how the container {self.name} is"):
            found: dict[str, object] = self._client.api.inspect_container(self.id)["State"]
            return found

    def addresses(self) -> dict[str, str]:
        """Return its address on each network that it is on, by the network's name, as the engine says."""
        with asking(f"say where the container {self.name} is"):
            there = self._client.api.inspect_container(self.id)["NetworkSettings"]["Networks"]
            return {name: str(at["IPAddress"]) for name, at in there.items()}

    def forget(self) -> None:
        """Take its end as meant: it is being removed."""
        with self._starting:
            self._meant = True

    def health(self) -> str | None:
        """Return what its own test of itself has come to, such as ``starting``, or None when it has none."""
        told = self.state().get("Health")
        return str(told.get("Status")) if isinstance(told, dict) and told.get("Status") != "none" else None

    def ended(self) -> str | None:
        """Return None while it runs, else how it ended by itself, such as ``code 1``. Asks the engine only then."""
        if self._meant or self._follower is None or self._follower.is_alive():
            return None
        with asking(f"say how the container {self.name} ended"):
            try:
                state = self._client.api.inspect_container(self.id)["State"]
            except docker.errors.NotFound:
                return "being removed by somebody else"
        if state["Running"]:  # the engine was restarted below its containers, and its stream is gone
            return "its output cut off: the engine was restarted"
        why = " for having used more memory than it may" if state.get("OOMKilled") else ""
        return f"code {state['ExitCode']}{why}"

    def said_since(self, mark: int) -> str:
        """Return its output from that place in the log on."""
        with self.log.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def wait_said(self, word: str, mark: int) -> None:
        """Wait a moment for a word in the log: output arrives 0.3 ms after it was written, at times 3 (measured).

        On a busy machine it may take longer, and a container has no way to say that it has said all.
        """
        began = time.monotonic()
        while (now := time.monotonic()) < began + _LATE:
            if word in self.said_since(mark).lower() and now > max(began, self._heard) + _QUIET:
                return
            time.sleep(0.005)  # between two looks at a condition

    def tail(self, lines: int = _LINES) -> str:
        """Return its last lines."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(it logged nothing)"

    def _follow(self, output: Iterable[bytes]) -> None:
        # an engine that dies ends the stream too: whoever asks for the container's end learns of it
        ends = (docker.errors.DockerException, OSError, urllib3.exceptions.HTTPError, ValueError)
        with contextlib.suppress(*ends), self.log.open("ab", buffering=0) as log:
            while True:
                for chunk in output:
                    log.write(chunk)
                    self._heard = time.monotonic()
                if not self._restarts:
                    return
                threading.Event().wait(_AGAIN)  # as an engine waits before it starts a container again
                with self._starting:
                    if self._meant:
                        return
                    output = self._attached()
                    self._client.api.start(self.id)


def _create(client: DockerClient, spec: Spec, labels: Mapping[str, str]) -> str:
    api = client.api
    first = spec.endpoints[0] if spec.endpoints else None
    own = spec.shares is None
    mode = f"container:{spec.shares}" if not own else first.network if first else "none"
    always: dict[str, Any] = {
        "ipc_mode": "private",
        "restart_policy": {"Name": "no"},
        "log_config": LogConfig(type="json-file", config={"max-size": "4m", "max-file": "1"}),
        "network_mode": mode,
        # or Toxiproxy's container, which is on every network, would be a router between them
        "sysctls": {"net.ipv4.ip_forward": "0", **spec.sysctls} if own else None,
        "dns": [_NOBODY] if own else None,
        "dns_search": ["."] if own else None,
        "dns_opt": ["timeout:1", "attempts:2"] if own else None,  # a node whose network is gone asks that name server
    }
    if spec.described is not None:
        host = api.create_host_config(**docker_described.host(spec.described, list(spec.files), always))  # type: ignore[arg-type]
    else:
        host = api.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(spec.capabilities) or None,
            security_opt=["no-new-privileges:true", *(["label=disable"] if spec.mounts else [])],
            read_only=True,
            tmpfs={"/tmp": f"rw,noexec,nosuid,nodev,size={spec.tmp_mb}m,mode=1777"},  # noqa: S108 - in the container
            mem_limit=f"{spec.memory_mb}m",
            memswap_limit=f"{spec.memory_mb}m",
            pids_limit=spec.processes,
            binds={here: {"bind": there, "mode": "ro"} for there, here in spec.mounts.items()} or None,
            **always,
        )
    networking = None
    if first is not None:
        endpoint = api.create_endpoint_config(ipv4_address=first.address, aliases=list(first.names))
        networking = api.create_networking_config({first.network: endpoint})  # type: ignore[arg-type]
    ours = {
        "command": list(spec.command) or None,
        "hostname": None if spec.shares else spec.name.rpartition("--")[2],
        "user": "0:0" if spec.capabilities else USER,
        "environment": dict(spec.environment),
    }
    made = api.create_container(
        spec.image,
        **(ours if spec.described is None else docker_described.container(spec.described)),
        name=spec.name,
        labels=dict(labels),
        host_config=host,
        networking_config=networking,
    )
    identity = str(made["Id"])
    for more in spec.endpoints[1:]:
        api.connect_container_to_network(identity, more.network, ipv4_address=more.address, aliases=list(more.names))
    return identity


def slug(name: str) -> str:
    """Return a name as a host's name: ``ada.camera`` is ``ada-camera``."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
