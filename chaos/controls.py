"""Controls: what a harness that works must see, tried before and after the cases of a chapter.

*Crossed scenes*: since the harness owns what the cameras film, it lets each camera film another owner's scene for a
moment. Whatever the home system does, every hub that shows a picture then shows a foreign badge, through the very
codecs, caches and screens of this run, and the judge must report each. *Cut links*: each camera's and each
hub's link is cut while a stream plays, and the picture behind it must stop advancing; one that goes on has a way around
the faults.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from chaos.case import Case, in_parallel, wait_until_clock
from chaos.conditions import CLEAR, OUTAGE, Way, of, packet_fault
from chaos.errors import Surroundings
from chaos.history import Asked, ControlSeen, Displayed, Event
from chaos.home import Home
from chaos.plan import DEFAULT_CAMERA
from chaos.topology import Link, Role
from chaos.verdict import Verdict, judge
from chaos.waiting import wait_for

_DEVICES: tuple[Role, ...] = ("camera", "hub")
CROSSED = "crossed scenes"
CUT = "cut links"
NO_DATAGRAM = of(*(packet_fault("loss", way=way, at=(1,), of=1) for way in Way))
"""What cuts a link over UDP, which Toxiproxy cannot refuse."""
IN_FLIGHT = 0.25
"""Seconds after a cut in which a picture filmed before it may still arrive: a frame's time plus one camera buffer."""
TOGETHER = 3
ATTEMPTS = 8
"""Times that a stream is asked for which does not advance; with four, two homes of containers had none at load 15 to 18
on two cores (seen)."""
SHOWS_WITHIN = 20.0
"""Seconds in which every hub shows a picture on clear links; it does in 0.2 s on a quiet machine. With four tries, 4 s
in all, two of three hubs had shown none at load 13 on two cores (seen)."""
ADVANCE_WITHIN = 4.0
"""Seconds in which a stream on clear links shows a second picture; it does in 0.4 s on a quiet machine (measured)."""
WATCHED = 0.8
"""Seconds for which a cut picture is watched: four frames of the stream at its 5 a second."""


def crossed_scenes(home: Home) -> list[Event]:
    """Cross every lens with the next owner's, let everybody ask, and report whether the judge named each hub.

    Who got no picture asks again, for a while: on a starved machine the home's own patience runs out, and a hub that
    shows nothing says nothing of the judge. What was shown and not reported stays so.
    """
    owners = home.owners
    films = {o: owners[(i + 1) % len(owners)] for i, o in enumerate(owners)}
    case = home.case(kind="control")
    with home.scene.crossed({(o, c): (other, c) for o, other in films.items() for c in home.contract.cameras}):
        home.wait_filming(films)
        until = time.monotonic() + SHOWS_WITHIN
        while time.monotonic() < until:
            shown = {e.hub for e in case.events if isinstance(e, Asked) and e.outcome == "picture"}
            if not (waiting := [o for o in owners if o not in shown]):
                break
            case.sign_in_whoever_is_out()
            case.ask_together(*waiting)
    events = home.finish(case)
    reported = {
        (j.frame.hub, j.guilty.owner) for j in judge(events) if j.verdict is Verdict.FOREIGN and j.guilty is not None
    }
    missed = [f"{o}'s hub with {films[o]}'s scene" for o in owners if (o, films[o]) not in reported]
    return [*events, home.note(_seen(CROSSED, missed, f"the judge reported every one of {len(owners)} hubs"))]


def cut_links(home: Home) -> list[Event]:
    """Play streams, cut their camera links, then their hub links, and watch whether the pictures stop.

    A few owners at a time: on two cores eight streams at once do not keep up, and end by themselves.
    """
    case = home.case(kind="control")
    missed: list[str] = []
    for start in range(0, len(home.owners), TOGETHER):
        owners = home.owners[start : start + TOGETHER]
        for role in _DEVICES:
            links = {o: [k.name for k in home.topology.links_of(role, o)] for o in owners}
            try:
                missed += _cut(case, links, home.topology.datagrams)
            except Surroundings as failed:
                told = [_told(home, case, o) for o in owners if not _advances(case, o)]
                raise Surroundings("\n".join([str(failed), *told])) from failed
        in_parallel(owners, case.close)
    events = home.finish(case)
    shown = {e.hub for e in events if isinstance(e, Displayed) and e.reading.sightings}
    missed += [f"{o}'s hub showed nothing" for o in home.owners if o not in shown]
    return [
        *events,
        home.note(_seen(CUT, missed, f"{_count(home)} links were cut and their pictures stopped")),
    ]


def _count(home: Home) -> int:
    return len({k.name for o in home.owners for k in _links(home, o)})


def _links(home: Home, owner: str) -> list[Link]:
    """Return the links of the owner's devices."""
    return [k for role in _DEVICES for k in home.topology.links_of(role, owner)]


def _cut(case: Case, links: Mapping[str, Sequence[str]], datagrams: Collection[str]) -> list[str]:
    """Play a stream for each owner, cut the owner's links, and return what was filmed after that."""
    _play_everywhere(case, links)
    every = [link for of_owner in links.values() for link in of_owner]
    for link in every:
        case.set_conditions(link, NO_DATAGRAM if link in datagrams else OUTAGE)
    cut = time.monotonic()
    wait_until_clock(cut + IN_FLIGHT + WATCHED)
    missed = [
        f"the picture behind {' and '.join(of_owner)} was filmed {newest - cut:.2f} s after its link was cut"
        for owner, of_owner in links.items()
        if (newest := max(case.captured(owner), default=cut)) > cut + IN_FLIGHT
    ]
    for link in every:
        case.set_conditions(link, CLEAR)
    return missed


def _play_everywhere(case: Case, owners: Iterable[str]) -> None:
    """Return once every hub's stream advances; one that the home system itself ended is asked for again."""
    standing = list(owners)
    for attempt in range(ATTEMPTS):
        in_parallel(standing, lambda o: case.ask(o, camera=DEFAULT_CAMERA, feed="stream"))
        try:
            wait_for("every stream to advance", lambda: _lack(case, owners), seconds=ADVANCE_WITHIN)
        except Surroundings:
            standing = [o for o in owners if not _advances(case, o)]
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _told(home: Home, case: Case, owner: str) -> str:
    """Return how each ask of the owner ended, and the last lines of the owner's nodes and of whom they speak to."""
    ends = [e.outcome for e in case.events if isinstance(e, Asked) and e.hub == owner]
    nodes = dict.fromkeys(node for k in _links(home, owner) for node in (k.client, k.server))
    tails = [f"last lines of {node}:\n{home.stack.tail(node)}" for node in nodes]
    return "\n".join([f"{owner} asked {len(ends)} times, which ended with {', '.join(ends)}", *tails])


def _advances(case: Case, owner: str) -> bool:
    return len(set(case.captured(owner))) > 1


def _lack(case: Case, owners: Iterable[str]) -> str | None:
    standing = [o for o in owners if not _advances(case, o)]
    return f"no second picture on {', '.join(standing)}" if standing else None


def _seen(what: str, missed: Sequence[str], well: str) -> ControlSeen:
    return ControlSeen(at=time.monotonic(), what=what, seen=not missed, detail="; ".join(missed) or well)
