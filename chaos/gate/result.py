"""What a gate answers, as a file: JSON of a format that has a number and a schema, which ships beside this module.

Fields are added to a format and never taken away or given another meaning; that would be another number.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from chaos.errors import Surroundings

FORMAT = 1
SCHEMA = Path(__file__).with_name("result.schema.json")
"""The JSON Schema of this format, made from the classes below: ``python -m chaos.gate.result``."""

Word: TypeAlias = Literal["passed", "leak", "inconclusive", "unusable"]
ScenarioWord: TypeAlias = Literal["passed", "leak", "inconclusive", "unusable", "accepted", "skipped", "not finished"]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Seen(msgspec.Struct, frozen=True):
    """One kind of control: whether it was seen every time that it ran (null: it did not run), and what it said."""

    seen: bool | None
    times: Count
    details: tuple[str, ...] = ()


class Moment(msgspec.Struct, frozen=True):
    """The controls before, or after, the cases of all scenarios, on every worker."""

    crossed_scenes: Seen
    cut_links: Seen


class Control(msgspec.Struct, frozen=True):
    """What a harness that works must see, tried before and after; a gate whose control fails never passes."""

    before: Moment
    after: Moment


class Budget(msgspec.Struct, frozen=True):
    """What the gate might use: seconds or cases."""

    seconds: Seconds | None = None
    cases: Count | None = None


class Reproduction(msgspec.Struct, frozen=True):
    """How often the shrunk programs of all findings leaked again: `hits` of `tries`."""

    tries: Count = 0
    hits: Count = 0


class Update(msgspec.Struct, frozen=True):
    """The update that was laid over the home system; `digest` is a hash of its whole folder."""

    name: str
    title: str
    digest: str


class Compose(msgspec.Struct, frozen=True):
    """The compose files of somebody's own home system; `digest` is a hash of what Compose makes of all of them."""

    files: tuple[str, ...]
    digest: str


class UnderTest(msgspec.Struct, frozen=True):
    """What was tested, exactly.

    `images` are digests by node, as the engine knows them; empty on the process stack, where `sources` tell: a hash of
    each node's folder with the update laid over it.
    """

    stack: str
    update: Update | None
    images: dict[str, str]
    sources: dict[str, str]
    ownframe: str
    python: str
    compose: Compose | None = None


class Acceptance(msgspec.Struct, frozen=True):
    """Who accepted a finding, why, and until which day (that day included)."""

    fingerprint: str
    owner: str
    reason: str
    expires: str


class Finding(msgspec.Struct, frozen=True):
    """One leak. `sentence` says who saw whose camera; `program` is the shrunk plan to paste, `plan` its replay file.

    `fingerprint` names its mechanism, whoever it befell; null where it was only seen and not looked into. An `accepted`
    one fails no gate. `note` says what cut the shrinking or the trying again short; `where` at which hop the picture
    turned foreign, empty where nothing was captured of its case.
    """

    scenario: str
    sentence: str
    verdict: str
    reproduction: Reproduction
    seconds: Annotated[float, Meta(description="seconds from the gate's start until it was on a screen")]
    program: str = ""
    plan: str | None = None
    picture: str | None = None
    note: str = ""
    fingerprint: str | None = None
    replay: str | None = None
    accepted: Acceptance | None = None
    where: str = ""


class Acceptances(msgspec.Struct, frozen=True):
    """The entries of the file of accepted findings: seen in this gate, expired, and those that nothing matched."""

    seen: tuple[Acceptance, ...]
    expired: tuple[Acceptance, ...]
    unmatched: tuple[Acceptance, ...]


class Scenario(msgspec.Struct, frozen=True):
    """One scenario or plain test. `reasons` say why it is no pass; `skipped` what a mark of its author says."""

    name: str
    file: str
    line: Count
    verdict: ScenarioWord
    cases: Count
    asks: Count
    strong_asks: Count
    displayed: Count
    seconds_of_first_leak: Seconds | None = None
    reasons: tuple[str, ...] = ()
    skipped: str | None = None


class State(msgspec.Struct, frozen=True):
    """A state that published leaks need: how often plans aimed at it, and how often it was reached."""

    aimed: Count
    reached: Count


class Untouched(msgspec.Struct, frozen=True):
    """What was not exercised: faults that were drawn and met by no ask, by link; links and kinds that nothing met."""

    drawn: dict[str, tuple[str, ...]]
    links: tuple[str, ...]
    kinds: tuple[str, ...]


class Result(msgspec.Struct, frozen=True):
    """What a gate answers."""

    format: Literal[1]
    verdict: Word
    exit_code: Annotated[int, Meta(ge=0, le=3, description="0 passed, 1 leak, 2 inconclusive, 3 could not run")]
    finished: Annotated[bool, Meta(description="false while the gate runs, and for ever when it was killed")]
    headline: str
    reasons: Annotated[tuple[str, ...], Meta(description="why it is no pass, a sentence each")]
    notes: Annotated[tuple[str, ...], Meta(description="what to know beside the verdict, such as a worker that died")]
    began: Annotated[str, Meta(description="time of day in UTC, RFC 3339")]
    seconds: Seconds
    budget: Budget
    timeout: Seconds | None
    workers: Count
    seed: Count
    cases: Annotated[int, Meta(ge=0, description="plans executed, those of shrinking included")]
    asks: Count
    strong_asks: Annotated[
        int, Meta(ge=0, description="asks whose exchange met a fault and that displayed their owner's own content")
    ]
    displayed: Annotated[int, Meta(ge=0, description="displayed frames with camera content")]
    foreign: Count
    revoked: Count
    misdirected: Count
    unreadable: Annotated[int, Meta(ge=0, description="also those that the harness itself cut or corrupted")]
    stale: Count
    control: Control
    witnessed: Annotated[
        dict[str, dict[str, int]], Meta(description="asks that met a fault, by link or node and by kind of fault")
    ]
    states: dict[str, State]
    not_exercised: Untouched
    seconds_to_first_foreign: Seconds | None
    cases_to_first_foreign: Count | None
    reproduction: Reproduction
    bound_95: Annotated[
        float | None,
        Meta(description="at 95 % confidence, fewer asks than this leak: 3 / strong_asks; null unless it passed"),
    ]
    under_test: UnderTest
    scenarios: tuple[Scenario, ...]
    findings: tuple[Finding, ...]
    accepted: Acceptances
    evidence: str


def to_json(result: Result) -> bytes:
    """Return the file's content."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def schema() -> bytes:
    """Return the JSON Schema (2020-12) of this format."""
    made = msgspec.json.schema(Result)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ownframe gate, format {FORMAT}"}
    return msgspec.json.format(msgspec.json.encode(head | made, order="sorted"), indent=2) + b"\n"


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; raises `Surroundings` where that cannot be."""
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(file)
    except OSError as refused:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise Surroundings(
            f"could not write {file} ({refused.strerror or refused}); name a place that can be written"
        ) from None


if __name__ == "__main__":
    SCHEMA.write_bytes(schema())
