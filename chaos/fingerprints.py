"""What one leak has in common with another of the same mechanism: whoever saw it, whatever was drawn around it.

Twenty workers find one bug twenty times, each with other owners, another link of the same kind, another number. A
*fingerprint* is a hash of what is left when names are taken for the part that somebody plays in the story: the hub that
showed the picture stands in the ``home``, an account that is signed in there and is none of its own is the ``guest``,
whose camera it was is the ``stranger``, and whoever else takes part is an ``other``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from chaos.conditions import Conditions
from chaos.plan import ChangeAccount, NodeStep, Plan, Reconnect, SetConditions
from chaos.verdict import Judged

NO_ANSWER = "no answer in time"
PART = "a part of an answer"
DAMAGED = "a damaged answer"
_LATE = ("latency", "bandwidth", "slicer", "slow_close", "timeout", "reset_peer", "refused")
_LATE_PACKETS = ("loss", "duplicate", "reorder", "hold", "reset", "half_open", "rebind")
_FAMILIES = {**dict.fromkeys((*_LATE, *_LATE_PACKETS), NO_ANSWER), "limit_data": PART, "damage": DAMAGED}
"""What the far side sees of each kind of fault. A cache that answers from a wrong slot when its origin is late does so
when the origin is slow, dead or refuses: told apart, one bug had as many fingerprints as there are toxics."""


class Mechanism(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was observed of a leak, without names and numbers; its hash is the fingerprint.

    `under` are the (link, what the far side sees) that the plan has, or that stood when the frame was shown where there
    is no plan; `nodes` the (node, fault). `torn` says that one picture named several owners, `carried_over` that it was
    left from an earlier case.
    """

    verdict: str
    whose: str
    feed: str
    under: tuple[tuple[str, str], ...]
    nodes: tuple[tuple[str, str], ...]
    changed_account: bool
    torn: bool
    carried_over: bool
    update: str | None

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that name the mechanism."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    def describe(self) -> str:
        """Say it in one line."""
        what = ["torn"] * self.torn + [self.feed] + ["left over from an earlier case"] * self.carried_over
        faults = [f"{seen} on {link}" for link, seen in self.under] + [f"{node} {fault}" for node, fault in self.nodes]
        faults += ["an account changed"] * self.changed_account
        under = ", ".join(faults) or "nothing wrong with any link or node"
        return f"{self.verdict}: {self.whose}'s camera on home's hub ({', '.join(what)}); {under}; " + (
            f"update {self.update}" if self.update else "no update"
        )


def mechanism(leak: Judged, owners: Iterable[str], plan: Plan | None, update: str | None) -> Mechanism:
    """Return what was observed of `leak` among these owners.

    `plan`, as small as it got, is what showed it; None in a test without one. `update` is its name.
    """
    assert leak.guilty is not None, "a leak names somebody"
    parts = _parts(leak, owners)
    under = {(link, c) for link, c in leak.under} if plan is None else set()
    nodes = {(_part(node, parts), fault) for node, fault in leak.nodes} if plan is None else set()
    dropped: set[tuple[str, str]] = set()
    changed = False
    for step in plan.elements if plan is not None else ():
        match step:
            case SetConditions():
                under.add((step.link, step.conditions))
            case Reconnect():
                dropped |= {(_part(link, parts), "dropped") for link in step.links}
            case ChangeAccount():
                changed = True
            case _ if isinstance(step, NodeStep):
                nodes.add((_part(step.node, parts), step.fault))
            case _:
                pass
    seen = {(_part(link, parts), family) for link, c in under for family in _families(link, c)}
    return Mechanism(
        verdict=leak.verdict.word,
        whose=_part(leak.guilty.owner, parts),
        feed=leak.ask.feed if leak.ask is not None else "still",
        under=tuple(sorted(seen | dropped)),
        nodes=tuple(sorted(nodes)),
        changed_account=changed,
        torn=len({s.owner for s in leak.frame.reading.sightings}) > 1,
        carried_over=leak.carried_over is not None,
        update=update,
    )


def _parts(leak: Judged, owners: Iterable[str]) -> Mapping[str, str]:
    """Return the part that each owner plays."""
    assert leak.guilty is not None, "a leak names somebody"
    guests = dict.fromkeys((o for o in leak.owners if o != leak.frame.hub), "guest")
    others = dict.fromkeys(owners, "other")
    return others | {leak.guilty.owner: "stranger"} | guests | {leak.frame.hub: "home"}


def _part(name: str, parts: Mapping[str, str]) -> str:
    """Return a name with its owner's part in the owner's place; what belongs to nobody keeps its name."""
    owner, dot, rest = name.partition(".")
    return f"{parts[owner]}{dot}{rest}" if owner in parts else name


def _families(link: str, conditions: Conditions) -> set[str]:
    return {_FAMILIES.get(f.kind, f.kind) for f in conditions.faults(link)}
