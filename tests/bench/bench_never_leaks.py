"""The reference home system is right: so many displayed frames under poor conditions, restarts included, none foreign.

A campaign, not a test: ``OWNFRAME_BENCH_FRAMES=100000 tox -e bench -- never_leaks`` is what the documentation quotes.
It says after every few cases what was displayed so far, since it takes most of an hour.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, any_node, conditions, motifs
from chaos.motifs import Draw, Place, Steps
from chaos.plan import Ask, AskTogether, Clear, LetAge, SetConditions
from chaos.run import CaseResult, Chapter, Run, Settings
from chaos.verdict import Rules, Verdict, exercised

FRAMES = int(os.environ.get("OWNFRAME_BENCH_FRAMES", "2000"))
FIRST = int(os.environ.get("OWNFRAME_BENCH_FIRST", "0"))
"""The seed of the first plans: what was stopped goes on with the number of its cases divided by `CHUNK`."""
CHUNK = 10
WATCHED_MS = 5_000
"""Eight streams display 40 frames a second, stills fewer than ten."""


def conditions_turn_while_everybody_watches(draw: Draw, place: Place) -> Steps:
    """Put a link under poor conditions while all streams play, and let them play on."""
    link = draw(st.sampled_from([k.name for k in place.topology.links]))
    first = draw(st.sampled_from(place.homes))
    return [
        AskTogether(tuple(Ask(home, feed="stream") for home in place.homes)),
        LetAge(first, 1_200),
        SetConditions(link, draw(conditions.poor())),
        LetAge(first, WATCHED_MS),
        *([Clear(link)] if draw(st.booleans()) else []),
    ]


class EightHomes(Household):
    """Eight owners, most of them watching live, on links that turn poor, around nodes that are restarted."""

    homes = ("ada", "grace", "lin", "joan", "mary", "rosa", "tove", "vera")
    motifs = (*motifs.NETWORK, *[conditions_turn_while_everybody_watches] * len(motifs.NETWORK))

    @rule(home=any_home, other=any_home)
    def two_owners_watch_live(self, home: str, other: str) -> None:
        """Ask for streams, which play until the next ask on the hub."""
        self.ask(home, feed="stream")
        self.ask(other, feed="stream")

    @rule(homes=st.lists(any_home, min_size=3, max_size=8, unique=True))
    def many_ask_at_once(self, homes: list[str]) -> None:
        """Ask for stills at the same moment."""
        self.ask_together(*homes)

    @rule(home=any_home, after_ms=st.sampled_from([20, 60, 150, 350]), feed=st.sampled_from(["still", "stream"]))
    def an_owner_gives_up(self, home: str, after_ms: int, feed: str) -> None:
        """Close the feed early."""
        self.give_up(home, after_ms=after_ms, feed=feed)  # type: ignore[arg-type]

    @rule(home=any_home, owner=any_home)
    def a_guest_signs_in(self, home: str, owner: str) -> None:
        """Change the account of a hub."""
        self.change_account(home, owner=owner)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link: str, under: conditions.Conditions) -> None:
        """Put a link under poor conditions."""
        self.set_conditions(link, under)

    @rule(node=any_node)
    def a_node_is_restarted(self, node: str) -> None:
        """Restart any node."""
        self.restart(node)


def run() -> dict[str, float | int | str]:
    """Hunt on the reference until `FRAMES` frames were displayed."""
    counts: Counter[Verdict] = Counter()

    def note(result: CaseResult) -> None:
        counts.update(j.verdict for j in result.frames)

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Run(Settings(evidence=Path(folder)), on_case=note) as campaign:
        chapter = Chapter(campaign, "eight homes", EightHomes.homes, Rules())
        number = FIRST
        while displayed_of(counts) < FRAMES and not counts[Verdict.FOREIGN]:
            EightHomes.hunt(chapter, CHUNK, seeded=number)
            number += 1
            so_far = f"{displayed_of(counts)} frames displayed, {counts[Verdict.FOREIGN]} of them foreign"
            so_far += f", {chapter.executions} cases, {time.monotonic() - began:.0f} s"
            print(so_far, file=sys.stderr, flush=True)
        tried = exercised(chapter.events, ())
        restarts = sum(type(e).__name__ == "Restarted" for e in chapter.events)
        hung = len(chapter.home.links.restarts)
    displayed = {v.word: n for v, n in sorted(counts.items()) if v is not Verdict.BLANK}
    return {
        "displayed frames": sum(displayed.values()),
        **{f"of them {word}": n for word, n in displayed.items()},
        "of them foreign": counts[Verdict.FOREIGN],
        "cases": tried.cases,
        "asks": tried.asks,
        "restarts of nodes": restarts,
        "replacements of a Toxiproxy that hung": hung,
        "kinds of fault met, of those drawn": f"{len(tried.met)} of {len(tried.drawn)}",
        "seconds": time.monotonic() - began,
    }


def displayed_of(counts: Counter[Verdict]) -> int:
    """Count the frames on which there was anything."""
    return sum(n for v, n in counts.items() if v is not Verdict.BLANK)
