"""A gate's sessions on a Dask cluster: Dask hands them out, tries a lost worker's again and cancels; here is summed up.

A *session* is a gate of one worker somewhere: a home system of its own, cases of one seed, controls before and after.
Everything that it needs travels with it (scenario files, an update's folder), and what it comes to travels back with
its findings. Dask runs the session of a machine that is gone on another one, with the same seed, so the same plans;
only what a session returns is counted, so nothing counts twice. What it *saw* is told to the scheduler at once, so that
a stranger on a screen is not forgotten with the machine that saw it.

`distributed` is imported here alone, and only when a cluster is asked for.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import tarfile
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from chaos.errors import Misuse, Surroundings
from chaos.gate.crew import WORKER, Crew, Lost, Terms, joined
from chaos.gate.messages import Found, Leaked, Scenario, Told, UnderTest
from chaos.gate.seeds import seed_of

CASES = 40
"""Plans of one session: its home and controls take 13 s (measured), and forty cases half a minute."""
SECONDS = 60.0
"""Seconds of one session, where the budget is one of time."""
FEWEST_SECONDS = 25.0
"""Seconds that must be left for a session to be worth its home."""
EVIDENCE = 16_000_000
"""Bytes of findings and logs that travel back from one session; what is above stays behind, and is told."""
_LOOK = 0.2
"""Seconds between two looks at what Dask has."""


class Session(msgspec.Struct, frozen=True):
    """What travels to a machine: files by their path below the folder that they were given in, and how much to do."""

    name: str
    number: int
    scenarios: dict[str, bytes]
    paths: tuple[str, ...]
    stack: str
    update: dict[str, bytes] | None
    seed: int
    cases: int | None
    seconds: float | None
    shrink_budget: int
    command: tuple[str, ...] | None
    chosen: dict[str, str] = {}


class Came(msgspec.Struct, frozen=True):
    """What a session came to. Instants are seconds of the wall clock, since machines share no other."""

    number: int
    scenarios: tuple[Scenario, ...]
    notes: tuple[str, ...]
    told: tuple[Told, ...]
    leaks: tuple[tuple[str, Leaked], ...]
    found: tuple[Found, ...]
    lost: tuple[Lost, ...]
    under_test: UnderTest
    skipped: dict[str, str]
    unusable: str | None
    cases: int
    asks: int
    frames: dict[str, int]
    cases_to_first_foreign: int | None
    folder: str
    evidence: bytes


class Sight(msgspec.Struct, frozen=True):
    """A leak that a session saw just now."""

    session: int
    scenario: str
    leaked: Leaked


class Cluster(Crew):
    """The crew of a gate that works on a Dask cluster at `address`; without one, on a local cluster."""

    def __init__(self, terms: Terms, address: str | None, tick: Callable[[], object] = lambda: None) -> None:
        super().__init__(terms, tick)
        self._address = address
        self._name = f"ownframe-{uuid.uuid4().hex[:10]}"
        self._numbers = itertools.count(1)
        self._open: dict[Any, Session] = {}
        self._came: list[Came] = []
        self._sights: list[Sight] = []
        self._handed = 0
        self._over = False

    @property
    def cases(self) -> int:
        """Cases of the sessions that have come to their end."""
        return sum(c.cases for c in self._came)

    @property
    def asks(self) -> int:
        """Asks of these cases."""
        return sum(c.asks for c in self._came)

    @property
    def frames(self) -> Counter[str]:
        """Displayed frames of these cases, by the judge's words."""
        return sum((Counter(c.frames) for c in self._came), Counter())

    @property
    def at_work(self) -> bool:
        """Whether a session has not come to its end."""
        return bool(self._open)

    def work(self) -> None:
        """Hand sessions to the cluster within the budget, and return when all have ended."""
        with connected(self._address, self.terms.workers) as client:
            client.subscribe_topic(self._name, self._hear)
            try:
                for _ in range(max(1, sum(client.nthreads().values()))):
                    self._hand_out(client)
                while self._open:
                    self._tick()
                    time.sleep(_LOOK)  # between two looks
                    for future in [f for f in self._open if f.done()]:
                        self._take(future)
                        self._hand_out(client)
            finally:
                self._call_off_all(client)

    def stop(self, patience: float = 0.0) -> None:
        """Forget what is under way; `work` has called it off already when an exception left it."""
        del patience
        self.stopped = True
        self._open.clear()

    def kill(self) -> None:
        """Let go of everything; sessions that still run end by themselves."""
        self._open.clear()

    def _hand_out(self, client: Any) -> None:
        session = None if self._called_off or self.unusable else self._next_session()
        if session is None:
            return
        future = client.submit(
            carry_out, msgspec.msgpack.encode(session), key=f"{self._name}-{session.number}", pure=False
        )
        self._open[future] = session
        self.doing[session.number] = "a session is under way"

    def _next_session(self) -> Session | None:
        """Return another session while the budget lasts."""
        terms = self.terms
        cases = seconds = None
        if terms.cases is not None:
            cases = min(CASES, terms.cases - self._handed)
            if cases <= 0:
                return None
            self._handed += cases
        elif terms.until is not None:
            seconds = min(SECONDS, terms.until - time.monotonic())
            if seconds < FEWEST_SECONDS and (self._came or self._open):
                return None
        number = next(self._numbers)
        scenarios, paths = packed(terms.paths)
        return Session(
            name=self._name,
            number=number,
            scenarios=scenarios,
            paths=paths,
            stack=terms.stack,
            update=None if terms.update is None else folded(Path(terms.update)),
            seed=seed_of(terms.seed, "session", number),
            cases=cases,
            seconds=seconds,
            shrink_budget=terms.shrink_budget,
            command=None if terms.command == WORKER else terms.command,
            chosen=terms.chosen,
        )

    def _take(self, future: Any) -> None:
        session = self._open.pop(future)
        self.doing.pop(session.number, None)
        try:
            came = msgspec.msgpack.decode(future.result(), type=Came)
        except Exception as failed:  # noqa: BLE001 - Dask raises whatever a session raised, or KilledWorker
            self.lost.append(Lost(session.number, f"its session was lost: {failed}", 0))
            if not self._came and not self._open:
                self.unusable = self.lost[-1].why
            return
        self._add(came)

    def _add(self, came: Came) -> None:
        """Count a session. Its findings lie in the evidence as if they had been made here."""
        into = self.terms.folder / f"session-{came.number}"
        unpack(came.evidence, into)
        self._came.append(came)
        if came.unusable is not None and not came.cases:
            self.unusable = came.unusable
            self._called_off = True
        if not self.scenarios:
            self.scenarios = came.scenarios
            self.notes += came.notes
        self.told += [(came.number, told) for told in came.told]
        self.leaks += [(s, self._here(leak, came.folder, into)) for s, leak in came.leaks]
        self.found += [self._here(found, came.folder, into) for found in came.found]
        self.lost += [msgspec.structs.replace(one, number=came.number) for one in came.lost]
        self.skipped |= came.skipped
        self.under_test = joined(self.under_test, came.under_test)
        if came.cases_to_first_foreign is not None and self.cases_to_first_foreign is None:
            self.cases_to_first_foreign = self.cases - came.cases + came.cases_to_first_foreign
        self._called_off |= bool(came.leaks)

    def _here(self, seen: Any, folder: str, into: Path) -> Any:
        """Return what was seen with its instant on our clock and its picture where it lies now."""
        picture = seen.picture and seen.picture.replace(folder, str(into), 1)
        return msgspec.structs.replace(seen, at=seen.at - (time.time() - time.monotonic()), picture=picture)

    def _hear(self, event: tuple[float, bytes]) -> None:
        """Take down what a session saw; whether it lives to tell the rest is another matter."""
        with contextlib.suppress(msgspec.MsgspecError):
            self._sights.append(msgspec.msgpack.decode(event[1], type=Sight))
            self._called_off = True

    def _call_off_all(self, client: Any) -> None:
        """End what is under way, and keep what it saw."""
        import distributed  # noqa: PLC0415 - see the module

        if self._open:
            dask: Any = distributed
            dask.Event(self._name, client).set()
            client.cancel(list(self._open))
            self._open.clear()
        told = {s for s, _ in self.leaks}
        for sight in self._sights:
            if sight.scenario not in told:
                self.leaks.append((sight.scenario, self._here(sight.leaked, "", self.terms.folder)))
        client.unsubscribe_topic(self._name)


@contextlib.contextmanager
def connected(address: str | None, workers: int) -> Any:
    """Connect to the scheduler at `address`, or to a local cluster of so many processes; raises as its reasons are."""
    try:
        import distributed  # noqa: PLC0415 - see the module
    except ImportError:
        raise Misuse("--engine dask needs the package distributed; `pip install 'ownframe[dask]'` brings it") from None
    dask: Any = distributed  # its functions have no types
    if address is None:
        where = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "silence_logs": logging.CRITICAL}
        with (
            dask.LocalCluster(n_workers=workers, threads_per_worker=1, **where) as cluster,
            dask.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = dask.Client(address, timeout=15)
    except OSError as silent:
        raise Surroundings(f"no Dask scheduler answers at {address}: {silent}; `dask scheduler` starts one") from silent
    with client:
        yield client


# On a machine of the cluster.


def carry_out(order: bytes) -> bytes:
    """Hold a session and return what it came to; Dask calls this on one of its workers."""
    import distributed  # noqa: PLC0415 - see the module

    dask: Any = distributed
    session = msgspec.msgpack.decode(order, type=Session)
    called_off, worker = dask.Event(session.name), dask.get_worker()

    def tell(sight: Sight) -> None:
        worker.log_event(session.name, msgspec.msgpack.encode(sight))

    return msgspec.msgpack.encode(hold(session, tell, called_off.is_set))


def hold(session: Session, tell: Callable[[Sight], object], is_over: Callable[[], bool]) -> Came:
    """Let a crew of one work in a folder of its own, telling every leak as it is seen."""
    began, clock = time.monotonic(), time.time() - time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ownframe-session-") as name:
        folder = Path(name)
        unfold(session.scenarios, folder / "scenarios")
        if session.update is not None:
            unfold(session.update, folder / "update")
        crew = Crew(
            Terms(
                paths=tuple(str(folder / "scenarios" / p) for p in session.paths),
                stack=session.stack,
                update=None if session.update is None else str(folder / "update"),
                folder=folder / "evidence",
                workers=1,
                seed=session.seed,
                shrink_budget=session.shrink_budget,
                until=None if session.seconds is None else began + session.seconds,
                cases=session.cases,
                command=session.command or WORKER,
                chosen=session.chosen,
            ),
            lambda: watch(),  # noqa: PLW0108 - it needs the crew, and the crew it
        )
        told = 0
        looked = began

        def watch() -> None:
            nonlocal told, looked
            for scenario, leaked in crew.leaks[told:]:
                told += 1
                tell(Sight(session.number, scenario, _on_wall(leaked, clock)))
            if time.monotonic() > looked + 2.0 and not crew.stopped:
                looked = time.monotonic()
                if is_over():
                    crew.stop()

        try:
            crew.work()
        finally:
            crew.kill()
        return Came(
            number=session.number,
            scenarios=crew.scenarios,
            notes=tuple(crew.notes),
            told=tuple(t for _, t in crew.told),
            leaks=tuple((s, _on_wall(leaked, clock)) for s, leaked in crew.leaks),
            found=tuple(_on_wall(found, clock) for found in crew.found),
            lost=tuple(crew.lost),
            under_test=crew.under_test,
            skipped=crew.skipped,
            unusable=crew.unusable,
            cases=crew.cases,
            asks=crew.asks,
            frames=dict(crew.frames),
            cases_to_first_foreign=crew.cases_to_first_foreign,
            folder=str(folder / "evidence"),
            evidence=pack(folder / "evidence"),
        )


def _on_wall(seen: Any, clock: float) -> Any:
    return msgspec.structs.replace(seen, at=seen.at + clock)


# What travels.


def packed(paths: tuple[str, ...]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the Python files of scenario paths, and where each path is among them; a path may name a test in it."""
    files: dict[str, bytes] = {}
    places = []
    for number, path in enumerate(paths):
        place, colons, test = path.partition("::")
        root = Path(place)
        inside = [root] if root.is_file() else sorted(p for p in root.rglob("*.py") if "__pycache__" not in p.parts)
        below = root.parent if root.is_file() else root
        files |= {f"{number}/{p.relative_to(below).as_posix()}": p.read_bytes() for p in inside}
        places.append(f"{number}/{root.name}{colons}{test}" if root.is_file() else str(number))
    return files, tuple(places)


def folded(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path below it."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def unfold(files: Mapping[str, bytes], into: Path) -> None:
    """Write files below a folder; raises `Misuse` for a path that leaves it."""
    into.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = into / name
        if not path.resolve().is_relative_to(into.resolve()):
            raise Misuse(f"a session names the file {name!r}, which is outside of its folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pack(folder: Path) -> bytes:
    """Return findings and logs of a folder as a compressed archive, smallest files first, up to `EVIDENCE` bytes."""
    archive = io.BytesIO()
    room = EVIDENCE
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=3) as out:
        for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size):
            room -= path.stat().st_size
            if room < 0:
                note = b"more than fits was left on the machine of this session, and went with it\n"
                left = tarfile.TarInfo("left-behind.txt")
                left.size = len(note)
                out.addfile(left, io.BytesIO(note))
                break
            out.add(path, arcname=path.relative_to(folder).as_posix())
    return archive.getvalue()


def unpack(archive: bytes, into: Path) -> None:
    """Unpack what `pack` made; nothing of it can lie outside of the folder."""
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed_up:
        packed_up.extractall(into, filter="data")
