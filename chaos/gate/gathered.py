"""From what the workers said to one result: sums, reasons, one verdict. No process and no file."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from chaos.gate.accepted import Accepted
from chaos.gate.messages import Scenario, Told
from chaos.gate.result import (
    Acceptance,
    Acceptances,
    Budget,
    Compose,
    Control,
    Finding,
    Moment,
    Reproduction,
    Result,
    ScenarioWord,
    Seen,
    State,
    UnderTest,
    Untouched,
    Update,
    Word,
)
from chaos.gate.result import Scenario as ScenarioResult
from chaos.verdict import MINIMUM_STRONG_ASKS, Exercise, Outcome, together, weaknesses

if TYPE_CHECKING:
    from chaos.conditions import Fault
    from chaos.gate.crew import Crew

NO_VERDICT_YET = "the gate has not concluded: it still runs, or it was killed"


class Frame(msgspec.Struct, frozen=True):
    """What a result says of the gate itself. `began` is on the monotonic clock, `began_at` the time of day."""

    budget: Budget
    timeout: float | None
    seed: int
    workers: int
    stack: str
    update: Update | None
    evidence: str
    began: float
    began_at: datetime
    accepted: tuple[Accepted, ...] = ()
    compose: Compose | None = None


def gathered(
    frame: Frame, crew: Crew, now: float, *, finished: bool, stopped: str | None = None, unusable: str | None = None
) -> Result:
    """Return the result of what `crew` has seen until `now` (monotonic seconds).

    `stopped` says who or what ended the gate before it was done, `unusable` why it could not run.
    """
    exercise = together(t.exercise for _, t in crew.told if t.finished)
    everything = together(t.exercise for _, t in crew.told)
    counts: Counter[str] = Counter(crew.frames)
    if crew.told:
        counts = Counter()
        for _, told in crew.told:
            counts.update(told.counts)
    scenarios = [_scenario(frame, crew, s, exercise, several=frame.workers > 1) for s in crew.scenarios]
    findings = tuple(_findings(frame, crew))
    control = Control(_moment(crew, before=True), _moment(crew, before=False))
    unusable = unusable or crew.unusable
    reasons = list(_reasons(frame, crew, scenarios, stopped or unusable))
    fatal = [f for f in findings if f.accepted is None]
    if not reasons and not fatal and exercise.strong_asks < MINIMUM_STRONG_ASKS:
        reasons = list(weaknesses(exercise, MINIMUM_STRONG_ASKS))
    if not finished:
        reasons = [NO_VERDICT_YET]
    outcome = _outcome(fatal, unusable, reasons)
    foreign = [leak.at for _, leak in crew.leaks if leak.verdict == "foreign"]
    bound = exercise.bound_95 if outcome is Outcome.PASSED and not findings else None
    return Result(
        format=1,
        verdict=_word(outcome),
        exit_code=int(outcome),
        finished=finished,
        headline=_headline(outcome, findings, unusable, reasons, exercise, bound),
        reasons=tuple(reasons if outcome is not Outcome.PASSED else ()),
        notes=tuple(_notes(frame, crew, findings, unusable)),
        began=frame.began_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(now - frame.began, 1),
        budget=frame.budget,
        timeout=frame.timeout,
        workers=frame.workers,
        seed=frame.seed,
        cases=everything.cases if crew.told else crew.cases,
        asks=everything.asks if crew.told else crew.asks,
        strong_asks=exercise.strong_asks,
        displayed=sum(n for word, n in counts.items() if word != "blank"),
        foreign=counts["foreign"],
        revoked=counts["revoked"],
        misdirected=counts["misdirected"],
        unreadable=counts["unreadable"],
        stale=counts["stale"],
        control=control,
        witnessed=_by_link(everything.met),
        states={s.name: State(s.aimed, s.reached) for s in exercise.states},
        not_exercised=_untouched(crew, everything),
        seconds_to_first_foreign=round(min(foreign) - frame.began, 1) if foreign else None,
        cases_to_first_foreign=crew.cases_to_first_foreign,
        reproduction=Reproduction(
            sum(f.reproduction.tries for f in findings), sum(f.reproduction.hits for f in findings)
        ),
        bound_95=bound,
        under_test=UnderTest(
            frame.stack,
            frame.update,
            crew.under_test.images,
            crew.under_test.sources,
            importlib.metadata.version("ownframe"),
            platform.python_version(),
            frame.compose,
        ),
        scenarios=tuple(scenarios),
        findings=findings,
        accepted=_acceptances(frame, findings),
        evidence=frame.evidence,
    )


def _outcome(findings: Sequence[Finding], unusable: str | None, reasons: Sequence[str]) -> Outcome:
    if findings:
        return Outcome.LEAK
    if unusable:
        return Outcome.UNUSABLE
    return Outcome.INCONCLUSIVE if reasons else Outcome.PASSED


def _word(outcome: Outcome) -> Word:
    words: dict[Outcome, Word] = {
        Outcome.PASSED: "passed",
        Outcome.LEAK: "leak",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.UNUSABLE: "unusable",
    }
    return words[outcome]


def _headline(
    outcome: Outcome,
    findings: Sequence[Finding],
    unusable: str | None,
    reasons: Sequence[str],
    exercise: Exercise,
    bound: float | None,
) -> str:
    match outcome:
        case Outcome.LEAK:
            fatal = [f for f in findings if f.accepted is None]
            more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
            return f"Leak: {fatal[0].sentence}{more}"
        case Outcome.UNUSABLE:
            return f"Could not run: {(unusable or '').splitlines()[0]}"
        case Outcome.INCONCLUSIVE:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            return f"Inconclusive: {reasons[0].splitlines()[0]}{more}"
        case _:
            strength = f" At 95 % confidence fewer than 1 in {int(1 / bound)} leak." if bound else ""
            if findings:
                return f"Passed, with {len(findings)} accepted: {findings[0].sentence}"
            return (
                f"Passed: in {exercise.strong_asks} asks that met a fault and displayed their owner's own picture, "
                f"nobody saw a stranger.{strength}"
            )


# Scenarios.


def _scenario(frame: Frame, crew: Crew, scenario: Scenario, whole: Exercise, *, several: bool) -> ScenarioResult:
    told = [(number, t) for number, t in crew.told if t.scenario == scenario.id]
    exercise = together(t.exercise for _, t in told)
    leaks = [leak for name, leak in crew.leaks if name == scenario.id]
    accepted = leaks and all(f.accepted for f in _findings(frame, crew) if f.scenario == crew.name_of(scenario.id))
    skipped = crew.skipped.get(scenario.id)
    reasons = tuple(_doubts(told, several=several))
    verdict: ScenarioWord = "passed"
    if leaks:
        verdict = "accepted" if accepted else "leak"
    elif skipped is not None and not told:
        verdict = "skipped"
    elif not any(t.finished for _, t in told):
        verdict = "not finished"
    else:
        reasons += tuple(_weaknesses(frame, scenario, _without_met_elsewhere(exercise, whole)))
        verdict = "inconclusive" if reasons else "passed"
    return ScenarioResult(
        name=crew.name_of(scenario.id),
        file=scenario.file,
        line=scenario.line,
        verdict=verdict,
        cases=exercise.cases,
        asks=exercise.asks,
        strong_asks=exercise.strong_asks,
        displayed=exercise.displayed,
        seconds_of_first_leak=round(min(leak.at for leak in leaks) - frame.began, 1) if leaks else None,
        reasons=reasons,
        skipped=skipped,
    )


def _weaknesses(frame: Frame, scenario: Scenario, exercise: Exercise) -> Iterable[str]:
    if not exercise.cases:
        yield f"no case of it was executed; {_more(frame)}"
    else:
        yield from weaknesses(exercise, scenario.minimum_strong_asks)


def _doubts(told: Sequence[tuple[int, Told]], *, several: bool) -> Iterable[str]:
    for number, one in told:
        where = f"worker {number}: " if several else ""
        if one.failure is not None:
            yield f"it failed by itself, which is no verdict: {one.failure}"
        for doubt in one.doubts:
            yield f"{where}{doubt}"


def _without_met_elsewhere(exercise: Exercise, whole: Exercise) -> Exercise:
    """Return the exercise without what only other scenarios or workers met or reached of what it drew and aimed at."""
    own, anywhere = {f for f, _ in exercise.met}, {f for f, _ in whole.met}
    drawn = tuple(f for f in exercise.drawn if f in own or f not in anywhere)
    reached = {s.name for s in whole.states if s.reached}
    states = tuple(s for s in exercise.states if s.reached or s.name not in reached)
    return msgspec.structs.replace(exercise, drawn=drawn, states=states)


def _reasons(frame: Frame, crew: Crew, scenarios: Sequence[ScenarioResult], stopped: str | None) -> Iterable[str]:
    if stopped:
        yield stopped
    for scenario in scenarios:
        for reason in scenario.reasons:
            yield f"{scenario.name}: {reason}"
    unfinished = [s.name for s in scenarios if s.verdict == "not finished"]
    if unfinished and not stopped:
        yield f"not run to a control at the end: {', '.join(unfinished)}; {_more(frame)}"
    for one in frame.accepted:
        if one.expired(frame.began_at.date()):
            yield f"an acceptance has expired: {one.describe()}; look at it again, or take it out of the file"
    if frame.compose is not None and any(d != frame.compose.digest for d in crew.under_test.composed):
        yield (
            f"{' with '.join(frame.compose.files)} was changed while the gate ran, so that nobody knows which of them "
            "was tested; start it again"
        )
    if crew.scenarios and all(s.verdict == "skipped" for s in scenarios):
        yield "every scenario was skipped by a mark of its author"
    if not crew.scenarios and not stopped:
        yield "no worker said what scenarios there are"


def _more(frame: Frame) -> str:
    if frame.budget.seconds is not None:
        return f"give it more than {frame.budget.seconds:.0f} s (--budget), of which 15 go into a home and its controls"
    return f"give it more than {frame.budget.cases} cases (--budget)"


# Findings.


def _findings(frame: Frame, crew: Crew) -> Iterable[Finding]:
    """Yield what was found; of a leak whose worker did not live to shrink it, what was seen."""
    valid = {a.fingerprint: a for a in frame.accepted if not a.expired(frame.began_at.date())}
    for found in crew.found:
        yield Finding(
            scenario=crew.name_of(found.scenario),
            sentence=found.sentence,
            verdict=found.verdict,
            reproduction=Reproduction(found.tries, found.hits),
            seconds=round(min([found.at, *(k.at for s, k in crew.leaks if s == found.scenario)]) - frame.began, 1),
            program=found.program,
            plan=found.plan,
            picture=found.picture,
            note=found.note,
            fingerprint=found.fingerprint,
            replay=found.replay,
            where=found.where,
            accepted=_acceptance(valid[found.fingerprint]) if found.fingerprint in valid else None,
        )
    told = {f.scenario for f in crew.found}
    for scenario, leak in crew.leaks:
        if scenario not in told:
            told.add(scenario)
            yield Finding(
                scenario=crew.name_of(scenario),
                sentence=leak.sentence,
                verdict=leak.verdict,
                reproduction=Reproduction(),
                seconds=round(leak.at - frame.began, 1),
                picture=leak.picture,
            )


def _acceptance(accepted: Accepted) -> Acceptance:
    return Acceptance(accepted.fingerprint, accepted.owner, accepted.reason, accepted.expires.isoformat())


def _acceptances(frame: Frame, findings: Sequence[Finding]) -> Acceptances:
    seen = {f.fingerprint for f in findings}
    expired = [a for a in frame.accepted if a.expired(frame.began_at.date())]
    return Acceptances(
        seen=tuple(_acceptance(a) for a in frame.accepted if a.fingerprint in seen),
        expired=tuple(_acceptance(a) for a in expired),
        unmatched=tuple(_acceptance(a) for a in frame.accepted if a.fingerprint not in seen),
    )


# What was done.


def _moment(crew: Crew, *, before: bool) -> Moment:
    return Moment(*(_seen(crew, what, before=before) for what in ("crossed scenes", "cut links")))


def _seen(crew: Crew, what: str, *, before: bool) -> Seen:
    """Sum up a control over chapters: its first in each stands before the cases, the others after."""
    found = []
    for _, told in crew.told:
        mine = [c for c in told.controls if c.what == what]
        found += mine[:1] if before else mine[1:]
    unseen = tuple(dict.fromkeys(c.detail for c in found if not c.seen))
    return Seen(seen=all(c.seen for c in found) if found else None, times=len(found), details=unseen)


def _by_link(met: Iterable[tuple[Fault, int]]) -> dict[str, dict[str, int]]:
    links: dict[str, dict[str, int]] = {}
    for fault, asks in met:
        links.setdefault(fault.link, {})[fault.kind] = asks
    return links


def _untouched(crew: Crew, exercise: Exercise) -> Untouched:
    drawn: dict[str, list[str]] = {}
    for fault in exercise.unmet:
        drawn.setdefault(fault.link, []).append(fault.kind)
    links, kinds = {f.link for f, _ in exercise.met}, {f.kind for f, _ in exercise.met}
    return Untouched(
        drawn={link: tuple(kinds) for link, kinds in drawn.items()},
        links=tuple(k for k in crew.under_test.links if k not in links),
        kinds=tuple(k for k in crew.under_test.kinds if k not in kinds),
    )


def _notes(frame: Frame, crew: Crew, findings: Sequence[Finding], unusable: str | None) -> Iterable[str]:
    for finding in findings:
        if finding.accepted is not None:
            yield (
                f"{finding.scenario} leaked, which is accepted by {finding.accepted.owner} until "
                f"{finding.accepted.expires} ({finding.accepted.reason}): {finding.sentence} It was searched no further"
            )
    seen = {f.fingerprint for f in findings}
    for one in frame.accepted:
        if one.fingerprint not in seen and not one.expired(frame.began_at.date()):
            yield f"not seen in this gate: {one.describe()}; take it out of the file once its cause is fixed"
    yield from crew.notes
    for lost in crew.lost:
        if lost.why != unusable:
            yield f"worker {lost.number} was lost after {lost.cases} cases, which do not count: {lost.why}"
    for scenario, why in crew.skipped.items():
        yield f"{crew.name_of(scenario)} was skipped: {why}"
