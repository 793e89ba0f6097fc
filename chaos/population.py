"""A population: many logical owners, cameras and hubs around one real relay, most on good links and a few on poor ones.

The incident's integration had 1,044 users, and few were affected. Here the relay, its cache and the account service are
the home system's own, with an update laid over them; every camera has a Toxiproxy link of its own; cameras share one
process, and hubs one thread pool in this one. Stills alone are asked for, and each is judged by the same judge.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

import msgspec
import psutil
import urllib3

from chaos import children, conditions, evidence, frames, keys, updates
from chaos.conditions import Conditions
from chaos.contracts import CAMERAS
from chaos.contracts.desk import password
from chaos.contracts.reference import topology_of
from chaos.errors import Misuse, Surroundings
from chaos.history import (
    Asked,
    CaseEnded,
    CaseStarted,
    ConditionsSet,
    ControlSeen,
    Displayed,
    Event,
    Reading,
    SignedIn,
)
from chaos.identity import Key, Register
from chaos.plan import DEFAULT_CAMERA
from chaos.reading import Reader
from chaos.remote import Refused, Remote
from chaos.scene import SceneServer
from chaos.stacks.process import ProcessStack
from chaos.topology import MINIMUM_OWNERS, Link, Node, Topology
from chaos.updates import Update
from chaos.verdict import Judged, Outcome, Verdict, judge

INCIDENT = 1044
"""Users of the integration in December 2019, as Xiaomi told."""
LOOKS = 10
"""Different homes to look at; more owners live in such as others do, and have badges of their own."""
AT_ONCE = 4
"""Hubs that ask at the same time: a still takes 35 ms of a core, and twice as many would be a slow network to all."""
PATIENCE = 1.0
"""Seconds that a hub waits for its still, as the reference hub does."""
CROSSED = 3
"""Homes whose lenses are crossed for the control."""
_FILES = 16_384
_HUBS = "hubs"
_CAMERAS = "cameras"
Say = Callable[[str], None]


class Share(msgspec.Struct, frozen=True):
    """A part of all homes, from 0 to 1, whose cameras are behind these conditions."""

    under: Conditions
    share: float


class Options(msgspec.Struct, frozen=True):
    """What a population is told.

    `poor` says which parts of the homes are under which conditions; all others are clear. `seed` decides who, and in
    which order they ask; everybody asks once a round.
    """

    homes: int = INCIDENT
    poor: tuple[Share, ...] = (Share(conditions.EDGE, 0.003), Share(conditions.OUTAGE, 0.002))
    rounds: int = 2
    seed: int = 0
    update: str | None = None
    evidence: Path = Path("ownframe-evidence")

    def __post_init__(self) -> None:
        if not MINIMUM_OWNERS <= self.homes <= 10_000:
            raise Misuse(f"a population of {self.homes} homes; expected {MINIMUM_OWNERS} to 10,000")
        if self.rounds < 1:
            raise Misuse(f"{self.rounds} rounds; expected at least one")
        for part in self.poor:
            if not 0 < part.share <= 1:
                raise Misuse(
                    f"{part.under.name} is the share {part.share:g} of all homes; expected more than 0, up to 1"
                )
        if sum(part.share for part in self.poor) > 1:
            raise Misuse("the shares of homes under poor conditions are more than all homes; expected 1 at most")

    @property
    def owners(self) -> tuple[str, ...]:
        """The owners' names."""
        return tuple(f"home-{number:04d}" for number in range(1, self.homes + 1))

    def conditions_of(self) -> dict[str, Conditions]:
        """Return who is under which poor conditions: each share rounded to whole homes, at least one."""
        order = iter(in_order(self.owners, f"{self.seed} conditions"))
        found: dict[str, Conditions] = {}
        for part in self.poor:
            homes = max(1, round(part.share * self.homes))
            found |= dict.fromkeys(itertools.islice(order, homes), part.under)
        return found


def in_order(owners: Sequence[str], seed: str) -> list[str]:
    """Return owners in an order that `seed` decides and that looks like none."""
    return sorted(owners, key=lambda owner: hashlib.sha256(f"{seed} {owner}".encode()).digest())


def share(text: str) -> Share:
    """Read ``EDGE=0.003``: conditions by name, and a share of all homes. Raises `Misuse`."""
    name, _, part = text.partition("=")
    try:
        number = float(part)
    except ValueError:
        raise Misuse(f"{text!r} is no share of homes; expected NAME=SHARE, such as EDGE=0.003") from None
    return Share(conditions.named(name).without_packets(), number)


class Saw(msgspec.Struct, frozen=True, order=True):
    """`hub` showed a picture of `owner`'s home to somebody else, `times` times."""

    hub: str
    owner: str
    times: int


class Told(msgspec.Struct, frozen=True):
    """What a population came to; times in seconds, memory in MB of all processes together.

    `first` is from the first ask to the first stranger's picture, None when there was none. `poor_asks` are asks of
    homes under poor conditions, and `answered` those that got a picture.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    homes: int
    poor: int
    started: float
    read_back: float
    asked: float
    memory_mb: float
    first: float | None
    counts: dict[str, int]
    unavailable: int
    poor_asks: int
    answered: int
    saw: tuple[Saw, ...]

    def lines(self) -> Iterator[str]:
        """Yield what is told to people."""
        yield (
            f"{self.homes:,} homes, {self.poor:,} of them under poor conditions; started in {self.started:.1f} s; "
            f"all proxies read back in one call in {self.read_back:.2f} s; {self.memory_mb:,.0f} MB in all"
        )
        words = ", ".join(f"{n:,} {word}" for word, n in self.counts.items()) or "no pictures"
        yield f"asked in {self.asked:.1f} s: {words}; {self.unavailable:,} times 'unavailable'"
        yield f"{self.poor_asks:,} asks met poor conditions, {self.answered:,} of them got a picture"
        if self.saw:
            seen = {s.owner for s in self.saw}
            victims = {s.hub for s in self.saw}
            yield (
                f"the first stranger's picture came {self.first or 0:.2f} s after the first ask; "
                f"{len(victims):,} homes saw others, {len(seen):,} homes were seen:"
            )
            yield from (f"  {s.hub} saw {s.owner} {s.times} time{'s' * (s.times > 1)}" for s in self.saw)
        yield from (f"inconclusive: {reason}" for reason in self.reasons)


class Population:
    """Many homes that run; a context manager. `say` gets a line now and then of how far it is."""

    def __init__(self, options: Options, say: Say) -> None:
        self._options = options
        self._say = say
        self._owners = options.owners
        self._update: Update | None = updates.find(options.update) if options.update else None
        if self._update is not None:
            updates.check_runs_here(self._update, "process")
        self._key = Key.fresh()
        self._scratch = children.Scratch()
        self._stack = ProcessStack(self._scratch, say)
        self._scene = SceneServer(self._owners, CAMERAS, self._key, looks=LOOKS)
        self._reader = Reader(Register(self._owners, CAMERAS), (self._key,))
        self._tokens: dict[str, str] = {}
        self._http = urllib3.PoolManager(maxsize=AT_ONCE, timeout=PATIENCE, retries=False)
        self._first: float | None = None
        self._asks = 0
        self.started = self.read_back = 0.0
        label = f"population-{self._update.name if self._update else 'reference'}"
        self.evidence = evidence.Evidence(evidence.new_folder(options.evidence.resolve(), label))

    def __enter__(self) -> Self:
        """Start every node, provision all owners, sign every hub in, and put the poor links under their conditions."""
        began = time.monotonic()
        keys.remember(self._key)
        _let_open_files()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        self.started = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.close()

    def close(self) -> None:
        """End every node."""
        self._http.clear()
        self._stack.stop()
        self._scene.__exit__()
        self._scratch.remove()
        self.evidence.close()

    def _start(self) -> None:
        topology = topology_for(self._owners, self._update)
        source = self._scratch.folder / "home"
        updates.lay(updates.home_folder(), self._update, source)
        self._scene.__enter__()
        painted = self._scene.prepare()
        self._say(f"starting {len(self._owners):,} homes")
        self._stack.start(topology, source, self._scene, self.evidence.logs)
        painted.result()
        accounts = [{"owner": o, "password": password(o), "cameras": list(CAMERAS)} for o in self._owners]
        self._operator("accounts", {"accounts": accounts})
        devices = [
            {
                "owner": o,
                "camera": DEFAULT_CAMERA,
                "url": f"http://{self._stack.dialled(_camera(o))}/{o}",
                "secret": f"device-of-{o}",
            }
            for o in self._owners
        ]
        self._operator("relay", {"devices": devices})
        self._say("every hub signs in")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._sign_in, self._owners))
        for owner, under in self._options.conditions_of().items():
            self._stack.links.set(_camera(owner), under)
        began = time.monotonic()
        self._stack.links.read_back()
        self.read_back = time.monotonic() - began

    def _operator(self, node: str, body: Mapping[str, object]) -> None:
        remote = Remote(node, self._stack.address(node, "operator"))
        try:
            remote.post("/operator/provision", body)
        except Refused as refused:
            raise Surroundings(f"{node} did not take {len(self._owners):,} homes: {refused}") from None
        finally:
            remote.close()

    def _sign_in(self, owner: str) -> None:
        body = {"owner": owner, "password": password(owner)}
        status, data = self._send("POST", "/v1/login", body=msgspec.json.encode(body))
        if status != 200:
            raise Surroundings(f"{owner}'s hub could not sign in on clear links: {status} {data[:200]!r}")
        self._tokens[owner] = msgspec.json.decode(data, type=dict[str, str])["token"]

    def _send(self, method: str, path: str, body: bytes | None = None, token: str = "") -> tuple[int, bytes]:
        """Return status and body; status 0 and why, when there is no whole answer in time."""
        headers = {"Authorization": f"Bearer {token}"} if token else {"Content-Type": "application/json"}
        url = f"http://{self._stack.dialled(_HUBS)}{path}"
        try:
            answer = self._http.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as broken:
            return 0, str(broken).encode()
        return answer.status, answer.data

    # Asking.

    def run(self) -> Told:
        """Cross some lenses and see that it is noticed, let everybody ask in each round, and judge what was shown."""
        control = self._control()
        self.evidence.record(control)
        poor = self._options.conditions_of()
        now = time.monotonic()
        events: list[Event] = [CaseStarted(at=now, case=2, kind="plan")]
        self._scene.case = 2
        events += self._signed_in(self._owners, now)
        events += [ConditionsSet(link=_camera(o), conditions=c, began=now, ended=now) for o, c in poor.items()]
        began = time.monotonic()
        for number in range(1, self._options.rounds + 1):
            events += self._round(number, began)
        asked = time.monotonic() - began
        events.append(CaseEnded(at=time.monotonic(), case=2))
        self.evidence.record(events)
        self._stack.check()
        judged = judge(events)
        told = self._told(judged, events, poor, control=any(isinstance(e, ControlSeen) and e.seen for e in control))
        told = msgspec.structs.replace(told, asked=asked)
        self.evidence.write("population.json", msgspec.json.encode(told))
        return told

    def _control(self) -> list[Event]:
        """Let some owners' lenses film the next one's home, on clear links, and report whether the judge names each."""
        poor = self._options.conditions_of()
        clear = [o for o in self._owners if o not in poor][:CROSSED]
        films = {o: clear[(i + 1) % len(clear)] for i, o in enumerate(clear)} if len(clear) > 1 else {}
        now = time.monotonic()
        self._scene.case = 1
        events: list[Event] = [CaseStarted(at=now, case=1, kind="control"), *self._signed_in(clear, now)]
        with self._scene.crossed({(o, DEFAULT_CAMERA): (other, DEFAULT_CAMERA) for o, other in films.items()}):
            for owner in films:
                events += self._ask(owner, None)
        seen = {(j.frame.hub, j.guilty.owner) for j in judge(events) if j.verdict is Verdict.FOREIGN and j.guilty}
        missed = sorted(o for o, other in films.items() if (o, other) not in seen)
        detail = f"not reported: {', '.join(missed)}" if missed else f"{len(films)} crossed homes"
        at = time.monotonic()
        return [
            *events,
            CaseEnded(at=at, case=1),
            ControlSeen(at=at, what="crossed scenes", seen=bool(films) and not missed, detail=detail),
        ]

    def _signed_in(self, owners: Sequence[str], at: float) -> list[Event]:
        return [SignedIn(hub=o, owner=o, began=at, ended=at) for o in owners]

    def _round(self, number: int, began: float) -> list[Event]:
        order = in_order(self._owners, f"{self._options.seed} round {number}")
        events: list[Event] = []
        tenth = max(1, len(order) // 10)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hub") as pool:
            for done, more in enumerate(pool.map(lambda owner: self._ask(owner, began), order), 1):
                events += more
                if done % tenth == 0 or done == len(order):
                    found = f", a stranger's picture after {self._first:.2f} s" if self._first is not None else ""
                    self._say(f"round {number} of {self._options.rounds}: {done:,} of {len(order):,} homes{found}")
        return events

    def _ask(self, owner: str, began: float | None) -> list[Event]:
        """Let one hub ask for its still, and return what happened; a stranger's picture is kept as it came."""
        self._asks += 1
        at, number = time.monotonic(), self._asks
        path = f"/v1/cameras/{DEFAULT_CAMERA}/still?width=1024"
        status, data = self._send("GET", path, token=self._tokens[owner])
        now = time.monotonic()
        shown: list[Event] = []
        if status == 200:
            luma = frames.luma_of_jpeg(data)
            reading = self._reader.read(luma) if luma is not None else Reading("picture")
            digest = hashlib.sha256(data).hexdigest()
            shown.append(Displayed(hub=owner, at=now, until=now, digest=digest, reading=reading))
            if any(s.owner != owner for s in reading.sightings) and began is not None:
                self._first = now - began if self._first is None else self._first
                self.evidence.write(f"strangers/{owner}-{number}.jpg", data)
        outcome: Literal["picture", "unavailable"] = "picture" if status == 200 else "unavailable"
        asked = Asked(
            ask=number, hub=owner, camera=DEFAULT_CAMERA, feed="still", began=at, taken=at, settled=now, outcome=outcome
        )
        return [asked, *shown]

    def _told(
        self, judged: Sequence[Judged], events: Sequence[Event], poor: Mapping[str, Conditions], *, control: bool
    ) -> Told:
        asks = [e for e in events if isinstance(e, Asked)]
        of_poor = [a for a in asks if a.hub in poor]
        saw = Counter((j.frame.hub, j.guilty.owner) for j in judged if j.verdict is Verdict.FOREIGN and j.guilty)
        counts = Counter(j.verdict for j in judged)
        reasons = tuple(_reasons(counts, control=control, poor=bool(of_poor)))
        outcome = Outcome.LEAK if saw else Outcome.INCONCLUSIVE if reasons else Outcome.PASSED
        return Told(
            outcome=outcome,
            reasons=reasons,
            homes=len(self._owners),
            poor=len(poor),
            started=self.started,
            read_back=self.read_back,
            asked=0.0,
            memory_mb=_memory_mb(),
            first=self._first,
            counts={v.word: n for v, n in sorted(counts.items())},
            unavailable=sum(a.outcome == "unavailable" for a in asks),
            poor_asks=len(of_poor),
            answered=sum(a.outcome == "picture" for a in of_poor),
            saw=tuple(sorted(Saw(hub, owner, n) for (hub, owner), n in saw.items())),
        )


def _reasons(counts: Mapping[Verdict, int], *, control: bool, poor: bool) -> Iterator[str]:
    if not control:
        yield "crossed scenes were not reported, so a stranger's picture might not have been either"
    if not counts.get(Verdict.OWN, 0):
        yield "nobody was shown their own home"
    if unread := counts.get(Verdict.UNREADABLE, 0):
        yield f"{unread:,} displayed pictures could not be read"
    if not poor:
        yield "no home was under poor conditions; give some a share of all homes"


def topology_for(owners: tuple[str, ...], update: Update | None) -> Topology:
    """Return the home system of many owners: its shared nodes, one process of cameras, and a link for each camera.

    All hubs share one link to whoever serves hubs.
    """
    model = topology_of(owners[:MINIMUM_OWNERS], update)
    serves_hubs = next(k for k in model.links if k.name == f"{owners[0]}.hub")
    shared = tuple(n for n in model.nodes if n.owner is None)
    names = {n.name for n in shared}
    cameras = Node(
        name=_CAMERAS,
        role="other",
        command=("python", "camera/many.py"),
        ports=("public", "operator"),
        environment={
            "LISTEN": "${listen:public}",
            "OPERATOR": "${listen:operator}",
            "LENS": f"${{scene}}/lens/*/{DEFAULT_CAMERA}",
            "DEVICE_SECRET": "device-of-*",
        },
        source="camera",
    )
    links = tuple(k for k in model.links if {k.client, k.server} <= names)
    mine = tuple(Link(name=_camera(o), client="relay", server=_CAMERAS, port="public", device=_CAMERAS) for o in owners)
    hubs = Link(name=_HUBS, client=_HUBS, server=serves_hubs.server, port=serves_hubs.port)
    return Topology(owners, (*shared, cameras), (*links, *mine, hubs))


def tell(options: Options, say: Say) -> Outcome:  # what `ownframe population` does
    """Run a population, say what it came to and where its evidence is, and return the outcome."""
    with Population(options, say) as population:
        told = population.run()
    for line in told.lines():
        say(line)
    say(f"evidence: {population.evidence.folder}")
    return told.outcome


def _camera(owner: str) -> str:
    return f"{owner}.camera"


def _let_open_files() -> None:
    """Let this process and its children have as many open files as the machine allows: a socket or two a home."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _memory_mb() -> float:
    """Return the resident memory of this process and all below it."""
    me = psutil.Process(os.getpid())
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue  # it has just ended
    return total / 1e6


__all__ = ["INCIDENT", "Options", "Population", "Saw", "Share", "Told", "in_order", "share", "tell", "topology_for"]
