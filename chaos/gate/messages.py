"""What a gate and its workers say to each other: frozen values, one JSON object a message."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from chaos.conditions import Fault
from chaos.evidence import LIMIT
from chaos.history import ControlSeen
from chaos.verdict import Exercise

Trouble: TypeAlias = Literal["misuse", "cannot run here", "surroundings", "bug"]


class _Message(msgspec.Struct, frozen=True, tag_field="message"):
    pass


# To a worker.


class Search(_Message, frozen=True, tag="search"):
    """Draw and execute up to `cases` plans of a scenario; `until` is when, on the monotonic clock, all must be over.

    `met` are the kinds of fault that asks have met anywhere in this gate, which need no directed case.
    """

    scenario: str
    round: int
    cases: int
    seed: int
    until: float | None = None
    met: tuple[Fault, ...] = ()


class Once(_Message, frozen=True, tag="once"):
    """Run a plain test, once."""

    test: str


class Stop(_Message, frozen=True, tag="stop"):
    """End the search that is under way after its case: somebody saw a stranger."""


class Close(_Message, frozen=True, tag="close"):
    """Add directed cases, run the controls, conclude, end; `quick` leaves all but the concluding out."""

    met: tuple[Fault, ...] = ()
    quick: bool = False


Task: TypeAlias = Search | Once
Order: TypeAlias = Search | Once | Stop | Close


# From a worker.


class Scenario(msgspec.Struct, frozen=True):
    """A scenario or plain test that was found: pytest's id of it, a name to tell it by, where it is written.

    `cases` is how many plans the scenario itself would execute; 0 for a plain test.
    """

    id: str
    name: str
    file: str
    line: int
    cases: int
    minimum_strong_asks: int


class Collected(_Message, frozen=True, tag="collected"):
    """What pytest found at the paths, and what it found that this gate does not run."""

    scenarios: tuple[Scenario, ...]
    notes: tuple[str, ...] = ()


class Said(_Message, frozen=True, tag="said"):
    """A line for whoever watches."""

    line: str


class Leaked(msgspec.Struct, frozen=True):
    """A leak as it was first seen: one sentence, when on the monotonic clock, the judge's word, the stored picture."""

    sentence: str
    at: float
    verdict: str
    picture: str | None = None


class Executed(_Message, frozen=True, tag="executed"):
    """A case was executed and judged. `frames` counts displayed frames by the judge's words."""

    scenario: str
    kind: Literal["search", "directed", "again"]
    asks: int
    frames: dict[str, int]
    leaked: Leaked | None = None


class Found(_Message, frozen=True, tag="found"):
    """A finding, shrunk and tried again; `program` and `plan` are empty for a plain test, which is its own program."""

    scenario: str
    sentence: str
    verdict: str
    at: float
    program: str = ""
    plan: str | None = None
    picture: str | None = None
    hits: int = 0
    tries: int = 0
    note: str = ""
    fingerprint: str | None = None
    replay: str | None = None
    where: str = ""


class Told(msgspec.Struct, frozen=True):
    """What a chapter came to. `failure` is the text of a plain test that failed by itself.

    One that is not `finished` had no control at its end, so that what it did says nothing.
    """

    scenario: str
    exercise: Exercise
    counts: dict[str, int]
    doubts: tuple[str, ...]
    controls: tuple[ControlSeen, ...]
    failure: str | None = None
    finished: bool = True


class Done(_Message, frozen=True, tag="done"):
    """A task is over. `executed` are new cases, `reserve` the seconds that closing would take now.

    `told` is what a plain test came to; it has controls of its own, and counts whatever becomes of this worker.
    `skipped` is the reason that a mark of its author gives.
    """

    executed: int
    reserve: float
    drawn: tuple[Fault, ...] = ()
    met: tuple[Fault, ...] = ()
    told: Told | None = None
    skipped: str | None = None


class UnderTest(msgspec.Struct, frozen=True):
    """What ran: `images` by node with their digests (none on the process stack), `sources` by folder, with hashes.

    `composed` are the digests of the compose files that were understood: one, unless somebody edited them meanwhile.
    """

    images: dict[str, str] = {}
    sources: dict[str, str] = {}
    links: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()


class Closed(_Message, frozen=True, tag="closed"):
    """Everything of this worker has ended in order, and this is what its chapters came to.

    `dropped` says what its evidence has no room for.
    """

    chapters: tuple[Told, ...]
    under_test: UnderTest
    dropped: tuple[str, ...] = ()


class Broken(_Message, frozen=True, tag="broken"):
    """The worker cannot go on, and says why in a sentence."""

    trouble: Trouble
    sentence: str


Report: TypeAlias = Collected | Said | Executed | Found | Done | Closed | Broken


class Brief(msgspec.Struct, frozen=True):
    """What a worker is told at its start, on its standard input."""

    paths: tuple[str, ...]
    stack: str
    update: str | None
    evidence: str
    shrink_budget: int
    compose: tuple[str, ...] = ()
    looks: int = 1
    evidence_limit: int = LIMIT
    chosen: dict[str, str] = {}
    """Of `chaos.run.Settings`: `display`, `camera`, `confirm_on`, where they were chosen."""


class Line:
    """One end of the line between a gate and a worker."""

    def __init__(self, connection: Connection[bytes, bytes], hears: Any) -> None:
        self.connection = connection
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(hears)

    def say(self, message: Order | Report) -> None:
        """Send a message; raises `OSError` when nobody is at the other end."""
        self.connection.send_bytes(msgspec.json.encode(message, enc_hook=_plain))

    def hear(self) -> Any:
        """Wait for a message; raises `EOFError` or `OSError` when nobody is at the other end."""
        return self._decoder.decode(self.connection.recv_bytes())


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not for a message")
