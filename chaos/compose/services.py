"""The services of a rendered compose file as containers to run, and every way around the links, each as a sentence.

Two rules: nothing of a service is left out in silence (what is not carried over is a note or a refusal), and nothing is
carried over that would let a container reach another one past Toxiproxy.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from chaos.errors import Misuse
from chaos.topology import Build, Described, Health, Mount

_KEPT = frozenset(
    (
        "image", "build", "command", "entrypoint", "environment", "volumes", "tmpfs", "user", "working_dir",
        "hostname", "domainname", "healthcheck", "restart", "cap_add", "cap_drop", "security_opt", "read_only",
        "shm_size", "mem_limit", "memswap_limit", "cpus", "pids_limit", "ulimits", "sysctls", "init", "group_add",
        "stop_signal", "tty", "stdin_open", "configs", "secrets", "labels", "depends_on", "links", "expose",
        "ports", "networks", "container_name", "extra_hosts", "deploy", "scale", "network_mode", "privileged",
        "pid", "ipc",
    )
)  # fmt: skip
_NOTHING_HERE = frozenset(
    (
        "profiles", "env_file", "label_file", "develop", "annotations", "attach", "logging", "pull_policy",
        "platform", "stop_grace_period", "oom_score_adj", "oom_kill_disable", "mem_reservation", "mem_swappiness",
        "cpu_count", "cpu_percent", "cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_runtime", "cpu_rt_period",
        "cpuset", "blkio_config", "mac_address", "storage_opt", "dns", "dns_opt", "dns_search",
    )
)  # fmt: skip
"""Keys that change nothing of what containers can say to each other, and are not carried over."""
_NO = {
    "devices": "uses devices of the host",
    "device_cgroup_rules": "uses devices of the host",
    "gpus": "uses devices of the host",
    "userns_mode": "shares a namespace of the host",
    "uts": "shares a namespace of the host",
    "cgroup": "shares a namespace of the host",
    "cgroup_parent": "chooses its place among the host's control groups",
    "volumes_from": "shares the files of another container",
    "external_links": "is linked to containers outside of the file",
    "use_api_socket": "is given the engine's socket",
    "credential_spec": "uses credentials of the host",
    "runtime": "asks for a runtime of its own",
    "isolation": "asks for an isolation of its own",
    "post_start": "has hooks that Compose would run",
    "pre_stop": "has hooks that Compose would run",
    "provider": "is provided by a program outside of containers",
    "models": "uses models that the engine serves",
}
_STRONG = frozenset(
    (
        "ALL", "NET_ADMIN", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME",
        "DAC_READ_SEARCH", "BPF", "PERFMON", "MAC_ADMIN",
    )
)  # fmt: skip
"""Capabilities with which a container can leave its networks, or reach the host."""
_HOSTS = ("/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd")
_BUILD_KEPT = frozenset(
    (
        "context", "dockerfile", "dockerfile_inline", "args", "target", "labels",
    )
)  # fmt: skip
_BUILD_QUIET = frozenset(
    (
        "cache_from", "cache_to", "no_cache", "pull", "tags", "provenance", "sbom", "shm_size", "ulimits",
        "platforms", "network", "isolation",
    )
)  # fmt: skip


class Told(msgspec.Struct):
    """What is said of a file before anything runs: what is refused, and what is otherwise than in the file."""

    refused: list[str] = []
    notes: list[str] = []


class Service(msgspec.Struct, frozen=True):
    """One service: the container to run, and what its labels and hops are made from.

    `ports` are the TCP ports that the file says it listens on, `depends` says on whom it waits until what.
    """

    name: str
    container: Described
    labels: Mapping[str, str]
    ports: tuple[int, ...]
    udp: tuple[int, ...]
    depends: Mapping[str, str]
    linked: Mapping[str, str]
    """Names by which it knows others, by service: of `links`."""
    networks: frozenset[str]


def services(content: Mapping[str, Any], folder: Path, told: Told) -> dict[str, Service]:
    """Return the services of a rendered file by name, and add to `told` what has to be said of them."""
    found = {
        name: _Reader(name, raw or {}, content, folder, told).service() for name, raw in content["services"].items()
    }
    _check_networks(content, found, told)
    _check_shared(found, told)
    return found


class _Reader:
    """Reads one service."""

    def __init__(self, name: str, raw: Mapping[str, Any], content: Mapping[str, Any], folder: Path, told: Told) -> None:
        self.name, self.raw, self.content, self.folder, self.told = name, raw, content, folder, told

    def service(self) -> Service:
        self._check_keys()
        raw = self.raw
        ports, udp = self._ports()
        return Service(
            name=self.name,
            container=self._container(),
            labels={k: "" if v is None else str(v) for k, v in _mapping(raw.get("labels")).items()},
            ports=ports,
            udp=udp,
            depends=self._depends(),
            linked={one.partition(":")[0]: one.partition(":")[2] or one for one in raw.get("links") or ()},
            networks=frozenset(_mapping(raw.get("networks")) or {"default": None})
            if "network_mode" not in raw
            else frozenset(),
        )

    def _refuse(self, why: str) -> None:
        self.told.refused.append(f"{self.name} {why}")

    def _note(self, what: str) -> None:
        self.told.notes.append(f"{self.name}: {what}")

    # What it may not do.

    def _check_keys(self) -> None:
        raw = self.raw
        for key, value in raw.items():
            if key in _KEPT or key.startswith("x-") or value in (None, [], {}, "", False):
                continue
            if key in _NO:
                self._refuse(f"{_NO[key]} (`{key}`), which is past every link; leave it out")
            elif key in _NOTHING_HERE:
                if key not in ("env_file", "label_file", "profiles"):  # Compose has done what they say
                    self._note(f"`{key}` is not carried over")
            else:
                self._refuse(f"has `{key}`, which ownframe does not know and will not leave out in silence")
        self._check_namespaces()
        self._check_rights()
        count = (raw.get("deploy") or {}).get("replicas", raw.get("scale", 1))
        if count not in (None, 1):
            self._refuse(f"is to run {count} times; expected once: a link has two ends")
        for host, address in self._extra_hosts():
            if address == "host-gateway":
                self._refuse(
                    f"reaches the host as {host!r} (`extra_hosts`), past every link; make what it wants there a service"
                )
            else:
                self._note(f"{host} is {address} in `extra_hosts`; nothing answers there under test")

    def _check_namespaces(self) -> None:
        raw = self.raw
        mode = str(raw.get("network_mode") or "none")
        if mode == "host":
            self._refuse(
                "is on the host's own network (`network_mode: host`), past every link; give it a network of the file"
            )
        elif mode.startswith(("service:", "container:")):
            other = mode.partition(":")[2]
            self._refuse(
                f"shares the network of {other} (`network_mode`), so that what the two say to each other crosses no "
                "link; give it a network of the file"
            )
        elif mode != "none":
            self._refuse(f"is on the network {mode!r} (`network_mode`), which is not of the file; give it one that is")
        if raw.get("privileged"):
            self._refuse("is privileged, and can leave every network that it is put on; leave `privileged` out")
        for key, others in (
            ("pid", ("host", "container:", "service:")),
            ("ipc", ("host", "container:", "service:", "shareable")),
        ):
            value = str(raw.get(key) or "")
            if value.startswith(others):
                self._refuse(f"shares processes or memory with others (`{key}: {value}`); leave it out")

    def _check_rights(self) -> None:
        strong = {str(c).upper().removeprefix("CAP_") for c in self.raw.get("cap_add") or ()} & _STRONG
        if strong:
            listed = ", ".join(sorted(strong))
            self._refuse(f"asks for {listed} (`cap_add`), with which a container can leave its networks; leave it out")
        for option in self.raw.get("security_opt") or ():
            if not str(option).startswith(("no-new-privileges", "label")):
                self._refuse(
                    f"asks for `security_opt: {option}`, which takes the engine's protection off; leave it out"
                )
        for name, value in _mapping(self.raw.get("sysctls")).items():
            if str(name).endswith("forward") and str(value) != "0":
                self._refuse(f"wants to pass packets on (`sysctls: {name}`); leave it out")

    # What it is.

    def _container(self) -> Described:
        raw = self.raw
        limits = ((raw.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        options: dict[str, Any] = {
            "cap_add": raw.get("cap_add"),
            "cap_drop": raw.get("cap_drop"),
            "security_opt": [str(o).replace("=", ":", 1) for o in raw.get("security_opt") or ()],
            "read_only": raw.get("read_only"),
            "shm_size": _bytes(raw.get("shm_size")),
            "mem_limit": _bytes(raw.get("mem_limit") or limits.get("memory")),
            "memswap_limit": _bytes(raw.get("memswap_limit")),
            "nano_cpus": int(float(raw.get("cpus") or limits.get("cpus") or 0) * 1e9),
            "pids_limit": raw.get("pids_limit") or limits.get("pids"),
            "init": raw.get("init"),
            "group_add": [str(g) for g in raw.get("group_add") or ()],
            "sysctls": {k: str(v) for k, v in _mapping(raw.get("sysctls")).items()},
            "ulimits": list(self._ulimits()),
        }
        return Described(
            service=self.name,
            names=self._names(),
            image=str(raw.get("image") or ""),
            build=self._build(),
            entrypoint=_words(raw.get("entrypoint")),
            command=_words(raw.get("command")),
            environment=self._environment(),
            mounts=tuple(self._mounts()),
            user=str(raw.get("user") or ""),
            working_dir=str(raw.get("working_dir") or ""),
            hostname=str(raw.get("hostname") or self.name),
            stop_signal=str(raw.get("stop_signal") or ""),
            tty=bool(raw.get("tty")),
            stdin_open=bool(raw.get("stdin_open")),
            restarts=not str(raw.get("restart") or "no").startswith("no"),
            health=self._health(),
            options={k: v for k, v in options.items() if v},
        )

    def _names(self) -> tuple[str, ...]:
        names = [self.name, self.raw.get("container_name"), self.raw.get("hostname")]
        for network, there in _mapping(self.raw.get("networks")).items():
            names += (there or {}).get("aliases") or ()
            if fixed := (there or {}).get("ipv4_address"):
                self._note(f"its fixed address {fixed} on {network} is not kept; others reach it by name")
        return tuple(dict.fromkeys(str(n) for n in names if n))

    def _environment(self) -> dict[str, str]:
        given = _mapping(self.raw.get("environment"))
        here = {k: os.environ.get(k) if v is None else _text(v) for k, v in given.items()}
        return {k: v for k, v in here.items() if v is not None}

    def _build(self) -> Build | None:
        raw = self.raw.get("build")
        if not raw:
            if not self.raw.get("image"):
                self._refuse("has neither an image nor a build; give it one")
            return None
        raw = {"context": raw} if isinstance(raw, str) else raw
        for key in raw.keys() - _BUILD_KEPT - _BUILD_QUIET:
            if raw[key]:
                self._refuse(
                    f"is built with `build.{key}`, which ownframe does not do; build it yourself and name the image"
                )
        context = str(raw.get("context") or ".")
        if re.match(r"[a-z+]+://|git@", context):
            self._refuse(f"is built from {context}; expected a folder of this machine")
            return None
        folder = (self.folder / context).resolve()
        dockerfile = str(raw.get("dockerfile") or "Dockerfile")
        if not folder.is_dir():
            self._refuse(f"is built from {folder}, which is no folder")
        elif not raw.get("dockerfile_inline") and not (folder / dockerfile).is_file():
            self._refuse(f"is built from {folder}, which has no {dockerfile}")
        arguments = {k: os.environ.get(k) if v is None else _text(v) for k, v in _mapping(raw.get("args")).items()}
        return Build(
            folder=str(folder),
            dockerfile=dockerfile,
            inline=str(raw.get("dockerfile_inline") or ""),
            arguments={k: v for k, v in arguments.items() if v is not None},
            target=str(raw.get("target") or ""),
        )

    def _health(self) -> Health | None:
        raw = self.raw.get("healthcheck") or {}
        test = raw.get("test")
        if raw.get("disable") or test in (None, ["NONE"], "NONE"):
            return Health(("NONE",)) if raw.get("disable") or test else None
        words = ("CMD-SHELL", test) if isinstance(test, str) else tuple(map(str, test))
        times = {k: _nanoseconds(raw.get(k)) for k in ("interval", "timeout", "start_period")}
        return Health(words, times["interval"], times["timeout"], int(raw.get("retries") or 0), times["start_period"])

    def _ulimits(self) -> Iterator[dict[str, Any]]:
        for name, limit in _mapping(self.raw.get("ulimits")).items():
            both = limit if isinstance(limit, dict) else {"soft": limit, "hard": limit}
            yield {"Name": name, "Soft": int(both["soft"]), "Hard": int(both["hard"])}

    def _extra_hosts(self) -> Iterator[tuple[str, str]]:
        raw = self.raw.get("extra_hosts") or ()
        for one in raw.items() if isinstance(raw, dict) else (re.split("[=:]", str(h), maxsplit=1) for h in raw):
            host, address = one
            yield str(host), str(address)

    def _ports(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        tcp: list[int] = []
        udp: list[int] = []
        for one in self.raw.get("ports") or ():
            target, protocol = (
                (one["target"], one.get("protocol", "tcp")) if isinstance(one, dict) else _short_port(one)
            )
            (udp if protocol == "udp" else tcp).extend(_port_range(target))
            self._note(f"port {target}/{protocol} is not published under test; who dials it here does so over a link")
        for one in self.raw.get("expose") or ():
            number, _, protocol = str(one).partition("/")
            (udp if protocol == "udp" else tcp).extend(_port_range(number))
        return tuple(dict.fromkeys(tcp)), tuple(dict.fromkeys(udp))

    def _depends(self) -> dict[str, str]:
        raw = self.raw.get("depends_on") or {}
        if isinstance(raw, list):
            return dict.fromkeys(raw, "service_started")
        known = self.content["services"]
        return {k: (v or {}).get("condition", "service_started") for k, v in raw.items() if k in known}

    # Files.

    def _mounts(self) -> Iterator[Mount]:
        for raw in self.raw.get("volumes") or ():
            mount = self._volume(_long(raw) if isinstance(raw, str) else raw)
            if mount is not None:
                yield mount
        for raw in [self.raw["tmpfs"]] if isinstance(self.raw.get("tmpfs"), str) else self.raw.get("tmpfs") or ():
            target, _, options = str(raw).partition(":")
            yield Mount("tmpfs", target, options=options)
        for kind, place in (("secrets", "/run/secrets/{}"), ("configs", "/{}")):
            for given in self.raw.get(kind) or ():
                one = {"source": given} if isinstance(given, str) else given
                mount = self._given_file(kind, one, str(one.get("target") or place.format(one["source"])))
                if mount is not None:
                    yield mount

    def _volume(self, raw: Mapping[str, Any]) -> Mount | None:
        kind, target, read_only = raw.get("type", "volume"), str(raw["target"]), bool(raw.get("read_only"))
        source = str(raw.get("source") or "")
        if kind == "tmpfs":
            tmpfs = raw.get("tmpfs") or {}
            size = f"size={_bytes(tmpfs['size'])}" if tmpfs.get("size") else ""
            mode = f"mode={int(tmpfs['mode']):o}" if tmpfs.get("mode") else ""
            return Mount("tmpfs", target, options=",".join(o for o in (size, mode) if o))
        if kind == "volume":
            if source:
                self._check_volume(source)
            return Mount("volume", target, source, read_only=read_only)
        if kind != "bind":
            self._refuse(f"mounts something of the type {kind!r} at {target}, which ownframe does not know")
            return None
        path = Path(os.path.normpath(self.folder / source))
        self._check_bind(path, target)
        return Mount("bind", target, str(path), read_only=read_only)

    def _check_volume(self, name: str) -> None:
        about = (self.content.get("volumes") or {}).get(name) or {}
        if about.get("external"):
            self._refuse(
                f"uses the volume {name}, which is external: others write into it; make it one of the file's own"
            )
        if about.get("driver_opts") or about.get("driver", "local") != "local":
            self._refuse(f"uses the volume {name}, whose driver may reach a network; expected a plain one")

    def _check_bind(self, path: Path, target: str) -> None:
        text = str(path)
        if text.endswith((".sock", ".socket")) or _is_socket(path):
            self._refuse(
                f"is given the socket {text}: whoever listens there is reached past every link (an engine's socket is "
                "the whole host); leave it out"
            )
        elif text == "/" or any(text == h or text.startswith(h + "/") for h in _HOSTS):
            if text not in ("/dev/null", "/dev/zero"):
                self._refuse(f"is given {text} of the host at {target}; expected a file or folder of the project")
        elif not path.exists():
            self._refuse(f"mounts {text}, which is not there; an engine would make an empty folder of it")

    def _given_file(self, kind: str, one: Mapping[str, Any], target: str) -> Mount | None:
        about = (self.content.get(kind) or {}).get(one["source"]) or {}
        if about.get("file"):
            path = (self.folder / about["file"]).resolve()
            self._check_bind(path, target)
            return Mount("bind", target, str(path), read_only=True)
        if about.get("environment"):
            value = os.environ.get(about["environment"])
            if value is None:
                self._refuse(
                    f"gets the {kind[:-1]} {one['source']} from the variable {about['environment']}, which is not set"
                )
            return Mount("file", target, read_only=True, content=value or "")
        if "content" in about:
            return Mount("file", target, read_only=True, content=str(about["content"]))
        self._refuse(
            f"gets the {kind[:-1]} {one['source']}, which is outside of the file; expected a file or its content"
        )
        return None


def _check_networks(content: Mapping[str, Any], found: Mapping[str, Service], told: Told) -> None:
    used = defaultdict(list)
    for service in found.values():
        for network in service.networks:
            used[network].append(service.name)
    for network, names in sorted(used.items()):
        about = (content.get("networks") or {}).get(network) or {}
        who = ", ".join(sorted(names))
        if about.get("external"):
            told.refused.append(
                f"{who} on the network {network}, which is external: whoever else is on it is reached past every link; "
                "make it one of the file's own, and what is on it a service"
            )
        elif about.get("driver") not in (None, "", "bridge", "overlay"):
            told.refused.append(
                f"{who} on the network {network} of the driver {about['driver']}, which leads out of the machine; "
                "expected an ordinary one"
            )


def _check_shared(found: Mapping[str, Service], told: Told) -> None:
    """Files that one service writes and another sees are a way for pictures that crosses no link."""
    mounts = [
        (s.name, m) for s in found.values() for m in s.container.mounts if m.kind in ("bind", "volume") and m.source
    ]
    seen = set()
    for one, first in mounts:
        for other, second in mounts:
            pair = frozenset((one, other))
            if one >= other or first.kind != second.kind or (pair, first.source) in seen:
                continue
            if _overlap(first, second) and not (first.read_only and second.read_only):
                seen.add((pair, first.source))
                writes = " and ".join(n for n, m in ((one, first), (other, second)) if not m.read_only)
                told.refused.append(
                    f"{one} and {other} share {first.source}, and {writes} may write there: a picture could pass "
                    "through it, past every link; mount it read-only, or give each its own"
                )


def _overlap(one: Mount, other: Mount) -> bool:
    if one.kind == "volume":
        return one.source == other.source
    a, b = PurePosixPath(one.source), PurePosixPath(other.source)
    return a == b or a in b.parents or b in a.parents


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _mapping(value: Any) -> dict[str, Any]:
    """Compose's lists of ``KEY=value`` (docker-compose 1.29, and labels), and its mappings."""
    if isinstance(value, list):
        return {str(k): v if found else None for k, found, v in (str(one).partition("=") for one in value)}
    return dict(value or {})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _words(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(shlex.split(value)) if isinstance(value, str) else tuple(map(str, value))


def _long(volume: str) -> dict[str, Any]:
    """Return the long form of a volume as docker-compose 1.29 prints it: SOURCE:TARGET:MODE."""
    parts = volume.split(":")
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    kind = "bind" if parts[0].startswith(("/", ".", "~")) else "volume"
    read_only = "ro" in parts[2].split(",") if len(parts) > 2 else False
    return {"type": kind, "source": parts[0], "target": parts[1], "read_only": read_only}


def _short_port(port: Any) -> tuple[str, str]:
    number, _, protocol = str(port).partition("/")
    return number.rpartition(":")[2], protocol or "tcp"


def _port_range(ports: Any) -> Iterable[int]:
    first, _, last = str(ports).partition("-")
    try:
        return range(int(first), int(last or first) + 1)
    except ValueError:
        raise Misuse(f"{ports!r} is no port and no range of ports") from None


_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}


def _bytes(value: Any) -> int:
    """Return a size such as 100m or 104857600 in bytes, 0 for none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value or 0).strip().lower())
    if not found or found[2].removesuffix("ib") not in _UNITS:
        raise Misuse(f"{value!r} is no size; expected one such as 64m")
    return int(float(found[1]) * _UNITS[found[2].removesuffix("ib")])


_TIMES = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}


def _nanoseconds(value: Any) -> int:
    """Return a duration such as 1m30s in nanoseconds, 0 for none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", str(value or ""))
    return int(sum(float(n) * _TIMES[unit] for n, unit in parts))
