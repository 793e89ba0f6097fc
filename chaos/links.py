"""Links through a real Toxiproxy server: its life, its proxies, and the conditions that they are under.

The only module that imports toxiproxy-python (0.1.1), and it makes that client strict: an address per server (the
client's is a class attribute), a time limit on each request, every answer checked, every write read back and
compared, and silences turned into `Surroundings` with the server's own last lines. The client has no update, so
its POST is used on the paths that update: the server calls that deprecated since 2.6 and still answers it
(tests/live/test_toxics.py pins that).
"""

from __future__ import annotations

import abc
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec
import psutil
from toxiproxy.api import APIConsumer  # noqa: TID251 - here alone
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists  # noqa: TID251

from chaos import children, sockets
from chaos.conditions import CLEAR, Conditions
from chaos.disturbance import Way
from chaos.errors import Misuse, Surroundings, nearest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.conditions import Fault
    from chaos.fates import Touch
    from chaos.packetfaults import AnyPacketFault

LIMIT = 4.0
"""Seconds for one answer of the server. It needs 1 ms, or 2 s to remove a reset_peer; after 5 s it would lose data
that it held, and a home system would see a stream with a hole that no network makes."""
_FULL = 300_000_000
"""Bytes; a fresh server has 15 MB, and is there after 40 ms."""
_START_SECONDS = 10.0
_PORT_SECONDS = 5.0
_NO_PROXY = {"http": None, "https": None, "all": None}  # or requests asks the user's HTTP_PROXY for 127.0.0.1

_T = TypeVar("_T")
_Stream: TypeAlias = Literal["upstream", "downstream"]


class Hop(msgspec.Struct, frozen=True):
    """Where a link's client dials (`listen`), where Toxiproxy dials (`upstream`), each ``host:port``.

    `device_dials`: whether the node that the link is named for is the dialling end (`chaos.topology.Link`).
    """

    listen: str
    upstream: str
    device_dials: bool

    def stream(self, way: Way) -> _Stream:
        """Return Toxiproxy's name of the stream that carries a way of the device."""
        return "upstream" if (way == Way.UP) == self.device_dials else "downstream"


class _Hung(Surroundings):
    """The server is alive and did not answer in time."""


class ToxicState(msgspec.Struct, frozen=True):
    """A toxic as the server tells it; `toxicity` is 1 where it is in force and 0 where it is switched off."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: dict[str, int]


class _Proxy(msgspec.Struct, frozen=True):
    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: list[ToxicState]


class Server(abc.ABC):
    """A Toxiproxy server that runs somewhere: its API, made strict. Subclasses say where, and start and end it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._api: type[APIConsumer] = APIConsumer

    @abc.abstractmethod
    def start(self) -> None:
        """Start the server, call `reach`, and return once its API answers; raises `Surroundings` when it does not."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the server; harmless when it is dead or was never started."""

    @abc.abstractmethod
    def ended(self) -> str | None:
        """Return None while the server runs, else how it ended, such as ``exit 2``."""

    @abc.abstractmethod
    def tail(self) -> str:
        """Return the last lines that the server wrote."""

    def is_full(self) -> bool:
        """Whether it is time for another server: this one keeps 0.05 to 0.25 MB of each exchange that a fault broke."""
        return False

    def reach(self, host: str, port: int) -> None:
        """Take the API to be at that address, and ask it whether it is."""
        # the client's address is an attribute of its class: one class per server
        self._api = type("Api", (APIConsumer,), {"host": host, "port": port})
        self.call("GET", "/version")

    def check(self) -> None:
        """Raise `Surroundings` when the server died by itself."""
        if self.ended() is not None:
            raise self._died()

    def call(self, method: Literal["GET", "POST", "DELETE"], path: str, body: object = None) -> bytes:
        """Send one request to the API and return the body of its answer.

        Raises `Surroundings` for any other answer than success, for a silence and for a dead server.
        """
        limits: dict[str, object] = {"timeout": (2.0, LIMIT), "proxies": _NO_PROXY}
        if body is not None:
            limits["json"] = body
        send = {"GET": self._api.get, "POST": self._api.post, "DELETE": self._api.delete}[method]
        try:
            answer = send(path, **limits)
        except (ProxyExists, NotFound, InvalidToxic) as refusal:
            raise Surroundings(self._sentence(f"refused {method} {path} of {body}: {refusal}")) from None
        except OSError as silence:  # what requests raises
            raise self._silent(f"{method} {path}", silence) from None
        if answer.status_code not in (200, 201, 204):
            said = answer.text.strip()[:500]
            raise Surroundings(self._sentence(f"answered {answer.status_code} to {method} {path}: {said}"))
        return bytes(answer.content)

    def _silent(self, what: str, silence: OSError) -> Surroundings:
        # a killed server's sockets close a moment before it is seen to have ended
        deadline = time.monotonic() + 0.5
        while self.ended() is None and time.monotonic() < deadline:
            time.sleep(0.01)  # between two looks at the process
        if self.ended() is not None:
            return self._died()
        return _Hung(self._sentence(f"did not answer {what} within {LIMIT:.0f} s ({silence})"))

    def _died(self) -> Surroundings:
        return Surroundings(self._sentence(f"died with {self.ended()}"))

    def _sentence(self, what: str) -> str:
        return f"{self.name} {what}; start the run again. Its last lines:\n{self.tail()}"


class Toxiproxy(Server):
    """One Toxiproxy server on loopback, with a free port for its API; a context manager.

    `binary` is what `chaos.server.toxiproxy_server` returns, `scratch` sees to it that the server ends with this
    process, `log` gets what the server says.
    """

    def __init__(self, binary: Path, scratch: children.Scratch, log: Path) -> None:
        super().__init__("Toxiproxy")
        self.log = log
        self._binary = binary
        self._scratch = scratch
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise Misuse("this Toxiproxy has not been started; use it as a context manager")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until its API answers; raises `Surroundings` when it does not."""
        self._process = self._scratch.spawn(
            [str(self._binary), "-host", "127.0.0.1", "-port", "0"],
            log=self.log,
            environment={"LOG_LEVEL": "info"},  # not the user's: at "error" a dead server has no last lines
        )
        self.name = f"Toxiproxy (pid {self.pid})"
        try:
            self.reach("127.0.0.1", self._wait_listening())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server; harmless when it is dead or was never started."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()  # it has nothing to put away, and hangs where it hangs
            self._process.wait()

    def ended(self) -> str | None:
        """Return the process's exit code, as words, or None while it runs."""
        code = self._process.poll() if self._process is not None else None
        return None if self._process is not None and code is None else f"exit {code if self._process else '?'}"

    def is_full(self) -> bool:
        """Whether the process has grown beyond `_FULL`."""
        try:
            return bool(psutil.Process(self.pid).memory_info().rss > _FULL)
        except psutil.Error:
            return False

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self.ended() is None

    def tail(self, lines: int = 8) -> str:
        """Return the last lines that the server wrote."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 400 * lines))
                said = log.read().decode(errors="replace").splitlines()
        except OSError:
            said = []
        return "\n".join(f"  | {line}" for line in said[-lines:]) or "  | (it said nothing)"

    def _wait_listening(self) -> int:
        """Return the API's port, asked of the kernel: no one can take it between choosing and using it."""
        deadline = time.monotonic() + _START_SECONDS
        while self.ended() is None:
            with contextlib.suppress(psutil.Error):
                for socket in psutil.Process(self.pid).net_connections("tcp4"):
                    if socket.status == psutil.CONN_LISTEN:
                        return int(socket.laddr.port)
            if time.monotonic() > deadline:
                raise Surroundings(self._sentence(f"did not listen within {_START_SECONDS:.0f} s of its start"))
            time.sleep(0.005)  # between two looks at its sockets
        raise self._died()


class Packets(Protocol):
    """What does packet faults; `chaos.packets.PacketLayer` is one."""

    def refuse(self, faults: Sequence[AnyPacketFault]) -> None:
        """Raise `Misuse` for a fault that cannot be had."""

    def set(self, link: str, faults: Sequence[AnyPacketFault]) -> None:
        """Put a link under these faults, in place of those that it was under."""

    def redial(self, link: str, server: str) -> None:
        """Let a UDP link end at another address."""

    def clear(self) -> None:
        """End every fault, and forget what was touched."""

    def touched(self, fault: Fault, began: float, ended: float) -> int:
        """Return how many packets that fault touched between two instants."""

    def touches(self) -> tuple[Touch, ...]:
        """Return what was touched since the faults were cleared last."""


class Links:
    """The links of one home, each a proxy of `toxiproxy`; call `fresh` before use and between cases.

    `packets` does packet faults; where there is none, it is a sentence that says why not. `datagrams` are links over
    UDP, which have no proxy and packet faults alone. Threads may share it; changes are made one after the other, each
    in about 10 ms.
    """

    def __init__(
        self,
        toxiproxy: Server,
        hops: Mapping[str, Hop],
        packets: Packets | str = "these links have no network namespace of their own",
        datagrams: Iterable[str] = (),
    ) -> None:
        self._server = toxiproxy
        self._hops = dict(hops)
        self._packets = None if isinstance(packets, str) else packets
        self._no_packets = packets if isinstance(packets, str) else ""
        self._lock = threading.Lock()
        self._datagrams = frozenset(datagrams)
        self._now = dict.fromkeys([*self._hops, *self._datagrams], CLEAR)
        self.restarts: list[float] = []
        """When (seconds, monotonic) a server that hung was replaced: every connection of every link dropped then."""

    @property
    def hops(self) -> Mapping[str, Hop]:
        """The hop of each link that Toxiproxy carries."""
        return self._hops

    @property
    def packets_can(self) -> bool:
        """Whether conditions with packet faults can be had."""
        return self._packets is not None

    def check(self, link: str, conditions: Conditions) -> None:
        """Raise `Misuse` for an unknown link, or for conditions that cannot be had on it."""
        self._known(link)
        if link in self._datagrams:
            _check_datagrams(link, conditions)
        elif alone := [f.kind for f in conditions.packets if f.DATAGRAMS_ALONE]:
            raise Misuse(
                f"{conditions.describe()} on {link} cannot be done: {', '.join(alone)} is of links over UDP, and this "
                "is one over TCP"
            )
        if self._packets is not None:
            self._packets.refuse(conditions.packets)
        elif conditions.packets:
            raise Misuse(
                f"{conditions.describe()} on {link} cannot be done: {self._no_packets}; use --stack docker on a "
                "machine where `ownframe doctor` finds packet faults, or leave them out (Conditions.without_packets)"
            )

    def touched(self, fault: Fault, began: float, ended: float) -> int:
        """Return how many packets a packet fault touched between two instants (seconds, monotonic)."""
        return self._packets.touched(fault, began, ended) if self._packets is not None else 0

    def touches(self) -> tuple[Touch, ...]:
        """Return which packets were touched since `fresh`."""
        return self._packets.touches() if self._packets is not None else ()

    def fresh(self) -> None:
        """Delete and make every proxy anew: clear, all connections dropped. This is the reset between cases.

        Toxiproxy's own reset stalled for 5 s in 5 of 110 case resets; this in none.
        """
        with self._lock:
            self._now = dict.fromkeys(self._now, CLEAR)
            if self._packets is not None:
                self._packets.clear()
            try:
                if self._server.is_full():
                    self._start_anew()
                    return
                for name in self._proxies():
                    self._server.call("DELETE", f"/proxies/{quote(name, safe='')}")
                self._make_all()
            except _Hung:
                self._replace_server()

    def set(self, link: str, conditions: Conditions) -> tuple[float, float]:
        """Put `link` under `conditions`, replacing what it was under; confirmed by reading back.

        Returns when the change began and ended (seconds, monotonic). Which changes drop the link's connections is in
        docs/conditions.md. Raises `Misuse` as `check` does, `Surroundings` when the server fails.
        """
        self.check(link, conditions)
        with self._lock:
            began = time.monotonic()
            self._now[link] = conditions
            try:
                if link not in self._datagrams:
                    self._change(link, conditions)
                    self._compare(link, self._proxy(link))
            except _Hung:
                self._replace_server()
            if self._packets is not None:
                self._packets.set(link, conditions.packets)
            if any(fault.NEW_CONNECTIONS for fault in conditions.packets):
                self._drop(link)
            return began, time.monotonic()

    def read_back(self) -> None:
        """Read every proxy back in one call, and raise `Surroundings` with what is not as it should be."""
        with self._lock:
            self._check_all()

    def redial(self, link: str, upstream: str) -> None:
        """Let `link` end at another ``host:port`` from now on, under the conditions that it is under.

        Its connections drop. Raises `Misuse` for an unknown link, `Surroundings` when the server fails.
        """
        self._known(link)
        with self._lock:
            if link in self._datagrams:
                if self._packets is not None:
                    self._packets.redial(link, upstream.rpartition(":")[0])
                return
            self._hops[link] = msgspec.structs.replace(self._hops[link], upstream=upstream)
            self._drop(link)

    @contextlib.contextmanager
    def under(self, link: str, conditions: Conditions) -> Iterator[None]:
        """Keep `link` under `conditions` for the body of a with-statement; afterwards it is clear again."""
        self.set(link, conditions)
        try:
            yield
        finally:
            self.set(link, CLEAR)

    def conditions(self, link: str) -> Conditions:
        """Return what `link` is under, or is being put under."""
        self._known(link)
        return self._now[link]

    def _drop(self, link: str) -> None:
        """Make a link's proxy anew as it is, so that its connections drop."""
        try:
            self._server.call("DELETE", self._path(link))
            entry = [self._entry(link, enabled=self._now[link].calm)]
            self._wait_ports_free(lambda: self._server.call("POST", "/populate", entry))
            if not self._now[link].calm:
                self._change(link, self._now[link])
            self._compare(link, self._proxy(link))
        except _Hung:
            self._replace_server()

    def _known(self, link: str) -> None:
        if link not in self._now:
            raise Misuse(f"there is no link {link!r}{nearest(link, list(self._now))}")

    def _make_all(self) -> None:
        """Make every proxy on a server that has none, each under its conditions, and read all back in one call."""
        entries = [self._entry(link, enabled=self._now[link].calm) for link in self._hops]
        self._wait_ports_free(lambda: self._server.call("POST", "/populate", entries))
        for link, conditions in self._now.items():
            if not conditions.calm and link not in self._datagrams:
                self._change(link, conditions)
        self._check_all()

    def _check_all(self) -> None:
        seen = self._proxies()
        if seen.keys() != self._hops.keys():
            raise Surroundings(f"Toxiproxy has the proxies {sorted(seen)}; expected {sorted(self._hops)}")
        for link, proxy in seen.items():
            self._compare(link, proxy)

    def _replace_server(self) -> None:
        """End a server that hangs, and put every link on a new one as it was.

        A change that meets a connection in the very moment of its end hangs 2.12.0 for good: the change holds the
        lock that the end waits for, and waits for what the end must read (read in its link.go).
        """
        self.restarts.append(time.monotonic())
        self._start_anew()

    def _start_anew(self) -> None:
        self._server.stop()
        self._server.start()
        self._make_all()

    def _change(self, link: str, conditions: Conditions) -> None:
        path = self._path(link)
        proxy = self._proxy(link)
        if conditions.refused:
            if proxy.enabled:  # made anew, not just disabled: no toxics stay behind on dying connections
                self._server.call("DELETE", path)
                self._server.call("POST", "/populate", [self._entry(link, enabled=False)])
            return
        holding = {t.stream for t in proxy.toxics if t.toxicity and t.type in (*_HOLDING, "latency")}
        before: Step | None = None
        for step in plan(proxy.toxics, self._wanted(link)):
            if before and before.stream == step.stream and step.stream in holding and not step.is_safe_after(before):
                time.sleep(_SETTLE)
            before = step
            match step.do:
                case "add":
                    self._server.call("POST", f"{path}/toxics", step.body())
                case "update":
                    self._server.call("POST", f"{path}/toxics/{step.name}", step.body())
                case "remove":
                    self._server.call("DELETE", f"{path}/toxics/{step.name}")
        if not proxy.enabled:
            self._wait_ports_free(lambda: self._server.call("POST", path, {"enabled": True}))

    def _wanted(self, link: str) -> dict[tuple[str, str], dict[str, int]]:
        hop = self._hops[link]
        return {(t.kind, hop.stream(t.way)): t.attributes() for t in self._now[link].toxics}

    def _compare(self, link: str, proxy: _Proxy) -> None:
        """Raise `Surroundings` unless the server has what was sent: it answers 200 to what it ignores."""
        hop, conditions = self._hops[link], self._now[link]
        wanted = [(*toxic, 1.0, attributes) for toxic, attributes in sorted(self._wanted(link).items())]
        seen = sorted((t.type, t.stream, t.toxicity, t.attributes) for t in proxy.toxics if t.toxicity)
        wrong = [
            f"{what} {is_!r} instead of {expected!r}"
            for what, is_, expected in (
                ("enabled", proxy.enabled, not conditions.refused),
                ("upstream", proxy.upstream, hop.upstream),
                ("listen", _address(proxy.listen), _address(hop.listen)),
                ("toxics", seen, wanted),
            )
            if is_ != expected
        ]
        if wrong:
            raise Surroundings(
                f"Toxiproxy did not do what it was told on {link}: {', '.join(wrong)}; use the version of its server "
                "that is pinned in chaos/server.py, and start the run again"
            )

    def _wait_ports_free(self, call: Callable[[], _T]) -> _T:
        """Try until the listen ports are free: one can be shortly busy after its proxy was deleted."""
        deadline = time.monotonic() + _PORT_SECONDS
        while True:
            try:
                return call()
            except Surroundings as busy:
                if sockets.IN_USE not in str(busy):
                    raise
                if time.monotonic() > deadline:
                    raise Surroundings(
                        "a port that a link listens on is taken by another program; end that, or start the run again, "
                        f"which chooses other ports. {busy}"
                    ) from None
                time.sleep(0.02)  # between two tries: who has the port may be about to let go of it

    def _entry(self, link: str, *, enabled: bool) -> dict[str, Any]:
        hop = self._hops[link]
        return {"name": link, "listen": hop.listen, "upstream": hop.upstream, "enabled": enabled}

    def _path(self, link: str) -> str:
        return f"/proxies/{quote(link, safe='')}"

    def _proxy(self, link: str) -> _Proxy:
        return _read(self._server.call("GET", self._path(link)), _Proxy)

    def _proxies(self) -> dict[str, _Proxy]:
        return _read(self._server.call("GET", "/proxies"), dict[str, _Proxy])


def _check_datagrams(link: str, conditions: Conditions) -> None:
    """Raise `Misuse` for what a link over UDP cannot have: nothing of it would happen."""
    toxics = [t.kind for t in conditions.toxics] + (["an outage"] if conditions.refused else [])
    if toxics:
        raise Misuse(
            f"{conditions.describe()} on {link} cannot be done: it is a link over UDP, which Toxiproxy does not carry "
            f"({', '.join(toxics)}); give it packet faults alone, such as loss"
        )
    if streams := [f.kind for f in conditions.packets if f.STREAMS_ALONE]:
        raise Misuse(
            f"{conditions.describe()} on {link} cannot be done: it is a link over UDP, and {', '.join(streams)} ends "
            "TCP connections alone; take loss, duplicate, reorder, hold, damage, rebind, stale or own"
        )


_HOLDING = ("bandwidth", "slicer")
_ORDER = (*_HOLDING, "latency", "limit_data", "slow_close", "timeout", "reset_peer")
_REMOVED = ("timeout", "reset_peer")
"""Switched off, a timeout would leave a hole in the stream where it swallowed data; removing it closes the connections.
A reset_peer makes every new connection end in a reset even while it is off."""
_SETTLE = 0.01
"""Seconds in which a connection that was just told of its client's death is forgotten; it takes 0.1 ms."""


class Step(msgspec.Struct, frozen=True):
    """One request that changes a proxy's toxics."""

    do: Literal["add", "update", "remove"]
    name: str
    kind: str
    stream: str
    toxicity: float = 1.0
    attributes: dict[str, int] = {}

    def is_safe_after(self, before: Step) -> bool:
        """Whether this may follow at once.

        A change lets go what was held, a client that has gone is then noticed, and a change that comes in that moment
        waits for ever for what nobody reads any more, while the server waits for it to forget the connection. Not so
        bandwidth, which hands over to a latency's 1,024 places.
        """
        return self.kind == "bandwidth" and before.kind == "latency" and self.toxicity == before.toxicity == 0.0

    def body(self) -> dict[str, Any]:
        """Return what is sent; a switched-off toxic keeps its attributes."""
        added = {"name": self.name, "type": self.kind, "stream": self.stream} if self.do == "add" else {}
        attributes = {"attributes": self.attributes} if self.attributes else {}
        return {**added, "toxicity": self.toxicity, **attributes}


def plan(have: Sequence[ToxicState], wanted: Mapping[tuple[str, str], dict[str, int]]) -> list[Step]:
    """Return the steps from the toxics that a proxy has, in their order, to those wanted, by kind and stream.

    Chains grow until the proxy is made anew, by a few toxics in a case. The rules come from what 2.12.0 did:

    * A toxic is switched off (toxicity 0), not removed. Removing one waits 5 s for each chunk that it still held for
      a client that has gone, then loses that chunk, and new connections on the link wait too.
    * Nothing is changed right before a toxic that holds data back: it waits until that takes its next 32 KB, at
      2 KB/s for 16 s, at 0 for ever. With a latency between them, even one that is off, it does not wait: the input of
      that takes 1,024 chunks.
    * A rate is changed only while it is off, or the server repeats bytes that it sent; and it is never raised, since
      it is read twice for a slice also where a connection has ended, and the server dies of a slice that grew.
    * limit_data counts from when it was added: a new one is added for each cut.
    """
    steps: list[Step] = []
    for stream in ("upstream", "downstream"):
        mine = [t for t in have if t.stream == stream]
        want = {kind: attributes for (kind, s), attributes in wanted.items() if s == stream}
        kept: dict[str, ToxicState] = {}
        for kind in (k for k in _ORDER if k in want):
            if (toxic := _changeable(kind, want, mine, kept)) is not None:
                kept[kind] = toxic
        added = want.keys() - kept.keys()
        off = [
            Step("remove", t.name, t.type, stream)
            if t.type in _REMOVED
            else Step("update", t.name, t.type, stream, toxicity=0.0)
            for t in reversed(mine)
            if t not in kept.values() and (t.toxicity or t.type in _REMOVED)
        ]
        names = {kind: f"{kind}-{stream}-{1 + sum(t.type == kind for t in mine)}" for kind in _ORDER}
        first = []
        if added & set(_HOLDING):
            # old rates go last, so that the link is not well in between; what else will stand before goes first
            first = [s for s in off if s.do == "update" and s.kind != "bandwidth"]
            rates = [i for i, t in enumerate(mine) if t.type == "bandwidth" and t.toxicity]
            if rates and all(t.type != "latency" for t in mine[rates[-1] :]):
                first.append(Step("add", names["latency"] + "-between", "latency", stream, 0.0))
        steps += first
        for kind in (k for k in _ORDER if k in want):
            if kind in added:
                steps.append(Step("add", names[kind], kind, stream, attributes=want[kind]))
            elif not kept[kind].toxicity or kept[kind].attributes != want[kind]:
                steps.append(Step("update", kept[kind].name, kind, stream, attributes=want[kind]))
        steps += [step for step in off if step not in first]
    return steps


def _changeable(
    kind: str, want: Mapping[str, dict[str, int]], mine: list[ToxicState], kept: Mapping[str, ToxicState]
) -> ToxicState | None:
    """Return the newest toxic of that kind if it can become what is wanted where it stands."""
    at = next((i for i in reversed(range(len(mine))) if mine[i].type == kind), None)
    if at is None:
        return None
    toxic = mine[at]
    same = toxic.toxicity > 0 and toxic.attributes == want[kind]
    nothing_holds_behind = all(k in kept for k in _HOLDING if k in want and k != kind) and not any(
        t.type in _HOLDING for t in mine[at + 1 :]
    )
    match kind:
        case "bandwidth":
            fits = same or (not toxic.toxicity and want[kind]["rate"] <= toxic.attributes["rate"])
        case "limit_data":
            fits = same and nothing_holds_behind
        case "slicer" | "latency" | "slow_close":  # bandwidth comes first in _ORDER: what is kept of it is known
            fits = nothing_holds_behind
        case _:
            fits = True
    return toxic if fits else None


def _address(address: str) -> tuple[str, str]:
    """Split ``host:port``; the server answers ``[::]`` where it was told ``0.0.0.0``."""
    host, _, port = address.rpartition(":")
    return ("any" if host in ("0.0.0.0", "[::]", "") else host), port  # noqa: S104 - compared


def _read(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as wrong:
        raise Surroundings(f"Toxiproxy answered what no Toxiproxy does ({wrong}): {data[:300]!r}") from None
