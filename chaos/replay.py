"""Execute what a replay file holds, exactly, and say what it came to: reproduced k of n, or not in n, so at most p."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos import bothways
from chaos.errors import Misuse
from chaos.fingerprints import mechanism
from chaos.home import check_plan
from chaos.register import Replay, bound_95
from chaos.run import Chapter, Run, Say, Settings, how_executed, sentence
from chaos.topology import check_owners
from chaos.verdict import Conclusion, Outcome


class Replayed(msgspec.Struct, frozen=True):
    """What executing a replay file came to; `text` is for people, `picture` the first that was somebody else's."""

    outcome: Outcome
    hits: int
    times: int
    text: str
    picture: Path | None = None


def execute(run: Run, file: Replay, times: int) -> Replayed:
    """Execute the plan of a replay file `times` times on what this run has under test, with controls around it.

    No other case is added, but `Settings.both_ways` executes a plan that leaked by the vendor's own app. Raises
    `Misuse`, before anything is started, for a plan that this home system has no parts for.
    """
    check_owners(file.plan.homes)
    rooms = file.rooms
    topology = run.contract(file.plan.homes, rooms=rooms).topology
    for plan in filter(None, (file.plan, file.earlier)):
        check_plan(plan, topology)
    rules = msgspec.structs.replace(file.rules, minimum_strong_asks=0)  # one plan need not show anybody their own
    chapter = Chapter(run, f"replay of {file.fingerprint}", file.plan.homes, rules, rooms=rooms)
    chapter.home.faults.check(file.plan.steps)
    under_test = run.under_test(chapter.home)
    results = [chapter.again(file.plan, file.earlier, anew=file.anew) for _ in range(times)]
    leaked = [r.leaks[0] for r in results if r.leaks]
    conclusion = run.conclusions[chapter.name] = _of_one_plan(chapter.close())
    if leaked or conclusion.outcome is Outcome.PASSED:
        run.register.tried(file.fingerprint, len(leaked), times, under_test)
    lines = [f"under test is something else: {d}" for d in file.under_test.differences(under_test)]
    picture = None
    if leaked:
        leak = leaked[0]
        stored = run.evidence.full(leak.frame.digest)
        picture = stored if stored.exists() else None
        seen = mechanism(leak, file.plan.homes, file.plan, run.update.name if run.update else None)
        lines.insert(
            0, f"reproduced {len(leaked)} of {times} times{how_executed(file.anew, file.earlier)}: {sentence(leak)}"
        )
        if seen.fingerprint != file.fingerprint:
            lines.append(f"it is told as finding {seen.fingerprint}, the file's is {file.fingerprint}")
        where = chapter.whence(leak)
        lines += [where.sentence] if where else []
        lines.append(f"picture: {picture or 'kept small only'}")
        if run.settings.both_ways:
            lines.append(bothways.compare(run, file.plan, len(leaked), times, rules=rules, rooms=rooms).sentence())
    elif conclusion.outcome is Outcome.PASSED:
        lines.insert(
            0,
            f"not reproduced in {times} executions, so at 95 % it happens in fewer than {bound_95(times):.0%} of them; "
            f"it was {file.hits} of {file.tries}",
        )
    else:
        lines.insert(0, "inconclusive: " + "; ".join(conclusion.reasons))
    return Replayed(conclusion.outcome, len(leaked), times, "\n".join(lines), picture)


def _of_one_plan(conclusion: Conclusion) -> Conclusion:
    """Return the conclusion without what only a search must do: reach every dangerous state that it aimed at."""
    tried = conclusion.exercise
    reasons = [*conclusion.doubts]
    if not tried.displayed:
        reasons.append("nothing was displayed in any execution, so nobody knows what would have been")
    if tried.unmet:
        reasons.append(f"met by no ask: {', '.join(f'{f.kind} on {f.link}' for f in tried.unmet)}")
    outcome = Outcome.LEAK if conclusion.leaks else Outcome.INCONCLUSIVE if reasons else Outcome.PASSED
    return msgspec.structs.replace(conclusion, outcome=outcome, reasons=tuple(reasons))


def tell(  # what `ownframe replay` does
    path: Path,
    *,
    times: int | None,
    stack: str | None,
    update: str | None,
    without_update: bool,
    compose: Sequence[Path],
    evidence: Path,
    say: Say,
    both_ways: bool = False,
) -> Outcome:
    """Replay a file on the stack, update and compose files that it names, or others, and return the outcome."""
    file = Replay.read(path)
    chosen = None if without_update else update or file.update
    own = tuple(compose) or (() if chosen else tuple(Path(f) for f in file.compose))
    stack = stack or file.under_test.stack
    settings = Settings(stack=stack, update=chosen, compose=own, evidence=evidence, both_ways=both_ways)
    try:
        made = Run(settings, say=say)
    except Misuse as wrong:
        if file.compose and own and not compose:
            raise Misuse(
                f"{path} was found on {' with '.join(file.compose)}, and {wrong}; --compose names another file"
            ) from None
        if chosen is None or update:
            raise
        raise Misuse(
            f"{path} was found with the update {chosen}, and {wrong}; --update names another, --no-update none"
        ) from None
    with made as run:
        done = execute(run, file, times or file.times)
    say(done.text)
    say(f"evidence: {run.evidence.folder}")
    return done.outcome
