"""What every plan ends with: the trouble is over, links are a little slow, and everybody looks again.

Under the last conditions of a plan most hubs show nothing, so that nobody can be seen on them. What trouble leaves
behind (a reply that nobody waited for, a slot that was filled for another, a connection that two now share) is seen by
who asks *afterwards* and is shown something. The conditions here are those under which a still comes late, and comes
(*What a still survives* in ``docs/reference-home.md``): an ask meets them, and what it shows can be judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from hypothesis import strategies as st

from chaos.conditions import Bandwidth, Conditions, Latency, Slicer, Way, of
from chaos.motifs import Place
from chaos.plan import (
    Ask,
    AskTogether,
    Attach,
    Clear,
    Detach,
    Pause,
    Restart,
    Resume,
    RollBack,
    RollOut,
    SetConditions,
    Step,
)
from chaos.topology import Role

Slow: TypeAlias = tuple[tuple[str, ...], Conditions]
"""Links, and the mild conditions that all of them are under while everybody looks."""
_SHARED_MS = (30, 75)
_OWN_MS = (30, 75, 150)
"""Milliseconds, half and less of the time-outs of the reference home: 0.3 s behind a shared link, 0.5 s to a camera."""
_KBS = (1125, 500)
"""KB/s: a still of 74 KB takes 0.2 s at most, of 0.5."""
_SLICES = (1460, 536)


def slow(place: Place) -> st.SearchStrategy[Slow]:
    """Draw a link that everybody's asks cross, or all that lead to cameras or to hubs, and mild conditions."""
    shared = st.tuples(st.sampled_from(place.shared).map(lambda link: (link,)), _mild(_SHARED_MS, ()))
    own = st.tuples(st.sampled_from([_links(place, "camera"), _links(place, "hub")]), _mild(_OWN_MS, _KBS))
    return st.one_of(shared, own)


def _links(place: Place, role: Role) -> tuple[str, ...]:
    ends = {n.name for n in place.topology.with_role(role) if not n.room}  # nobody looks at the other cameras
    return tuple(k.name for k in place.topology.links if ends & {k.client, k.server}) or place.shared


def _mild(milliseconds: Iterable[int], rates: Iterable[int]) -> st.SearchStrategy[Conditions]:
    ways = (Way.DOWN, Way.UP)
    late = [of(Latency(way=way, latency=ms)) for ms in milliseconds for way in ways]
    thin = [of(Bandwidth(way=way, rate=rate)) for rate in rates for way in ways]
    sliced = [of(Slicer(way=way, average_size=size)) for size in _SLICES for way in ways]
    return st.sampled_from([*late, *thin, *sliced])


def steps(before: Iterable[Step], homes: Iterable[str], looks: Iterable[Slow], place: Place) -> list[Step]:
    """Return what follows the steps `before` in a plan: an end to all trouble, then each of the looks."""
    everybody = AskTogether(tuple(Ask(home) for home in homes))
    result: list[Step] = [*_mended(before), *(Clear(link) for link in place.troubled)]
    under: tuple[str, ...] = ()
    for links, conditions in looks:
        result += [Clear(link) for link in under if link not in links]
        result += [SetConditions(link, conditions) for link in links]
        result.append(everybody)
        under = links
    return result if under else []


def _mended(before: Iterable[Step]) -> list[Step]:
    """Return steps that let every node go on that stands still, and put each back that is off its networks."""
    wrong: dict[tuple[str, type[Step]], Step] = {}
    for step in (element for each in before for element in each.elements()):
        match step:
            case Pause(node):
                wrong[node, Pause] = Resume(node)
            case Resume(node) | Restart(node) | RollOut(node) | RollBack(node):
                wrong.pop((node, Pause), None)
            case Detach(node):
                wrong[node, Detach] = Attach(node)
            case Attach(node):
                wrong.pop((node, Detach), None)
            case _:
                pass
    return list(wrong.values())
