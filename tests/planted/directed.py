"""For each update the shortest plan, written by hand, that shows its leak; on its control nobody sees a stranger by it.

What a person finds who knows the mistake. Whether the scenarios find it, who don't, is another question.
"""

from __future__ import annotations

from chaos import conditions
from chaos.conditions import OUTAGE, Conditions
from chaos.plan import (
    Ask,
    AskTogether,
    ChangeAccount,
    Clear,
    GiveUp,
    Meanwhile,
    Moment,
    Plan,
    Restart,
    RollBack,
    RollOut,
    Say,
    Sell,
    SetConditions,
    Step,
    Suspend,
)

OWNERS = ("ada", "grace", "lin")
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))
CUT = conditions.of(conditions.toxic("limit_data", way="up", bytes=50_000))
"""A still of 75 KB breaks off in its last third."""
LATE_AND_CUT = conditions.of(
    conditions.toxic("latency", way="up", latency=200), conditions.toxic("limit_data", way="up", bytes=50_000)
)


def late(ms: int) -> Conditions:
    return conditions.of(conditions.toxic("latency", way="up", latency=ms))


STEPS: dict[str, tuple[Step, ...]] = {
    "december-26": (Ask("grace"), SetConditions("ada.camera", OUTAGE), Ask("ada"), Clear("ada.camera")),
    "redis-4.5.3": (SetConditions("relay.cache", late(200)), GiveUp("ada", 60), Ask("grace"), Clear("relay.cache")),
    "aiohttp-3.9.0": (
        SetConditions("relay.accounts", late(200)),
        GiveUp("ada", 60),
        Ask("grace"),
        Clear("relay.accounts"),
    ),
    # a fetch that takes 0.4 s goes on for whoever gave it up, and is 0.2 s old
    "shared-fetch": (SetConditions("ada.camera", late(300)), GiveUp("ada", 200), Ask("grace"), Clear("ada.camera")),
    # ada's camera was slow once, and its next picture has the number of one that another camera gave
    "conditional-stills": (
        SetConditions("ada.camera", late(300)),
        *(Ask(o) for o in ("grace", "lin", "ada", "grace", "lin", "grace", "ada", "ada")),
        Clear("ada.camera"),
    ),
    "accounts-pool": (
        SetConditions("relay.accounts", late(200)),
        GiveUp("ada", 60),
        Ask("grace"),
        Clear("relay.accounts"),
    ),
    # each answer is 0.1 s too late, and comes while the next one asks
    "access-gateway": (
        SetConditions("gateway.accounts", late(300)),
        *(Ask(o) for o in OWNERS),
        Clear("gateway.accounts"),
    ),
    "reused-buffer": (Ask("grace"), SetConditions("ada.camera", CUT), Ask("ada"), Clear("ada.camera")),
    # lin is served while ada's picture is on its way; then it breaks off, and is asked for again
    "request-context": (
        SetConditions("ada.camera", LATE_AND_CUT),
        Meanwhile(Ask("ada"), (Ask("lin"),), Moment("sent", "ada.camera")),
        Clear("ada.camera"),
    ),
    # two of three sign in again, on the first two places of the table
    "session-slots": (Restart("relay"), ChangeAccount("lin", "grace"), ChangeAccount("grace", "lin")),
    "registry-storm": (SetConditions("relay.cache", late(600)), Ask("ada"), Clear("relay.cache"), EVERYBODY),
    "instant-on": (
        Ask("ada"),
        ChangeAccount("ada", "grace"),
        SetConditions("grace.camera", OUTAGE),
        Ask("ada"),
        Clear("grace.camera"),
    ),
    "retry-lane": (SetConditions("relay.accounts", late(300)), EVERYBODY, Clear("relay.accounts")),
    "still-index": (
        RollBack("relay"),
        Ask("grace"),
        SetConditions("ada.camera", OUTAGE),
        RollOut("relay"),
        Ask("ada"),
        Clear("ada.camera"),
    ),
    "placeholder": (Ask("grace"), SetConditions("ada.camera", OUTAGE), Ask("ada"), Clear("ada.camera")),
    # both are let in before, and the account service, where the switch is, is away when it is thrown
    "access-grace": (
        Ask("ada"),
        Ask("grace", feed="stream"),
        SetConditions("relay.accounts", OUTAGE),
        Suspend(),
        Ask("ada"),
        Clear("relay.accounts"),
    ),
    # the camera that grace has bought is away, and what is kept of it is ada's
    "still-by-device": (
        Ask("ada"),
        Sell("ada", "grace"),
        SetConditions("ada.camera", OUTAGE),
        Ask("grace"),
        Clear("ada.camera"),
    ),
    # ada's ticket takes 0.2 s, and is the one that grace's assistant is given
    "asked-twice": (
        Say("grace", "nursery"),
        SetConditions("relay.accounts", late(200)),
        Say("ada", "nursery"),
        Say("grace", "nursery"),
        Clear("relay.accounts"),
    ),
    "lenient-access": (SetConditions("relay.accounts", late(600)), EVERYBODY, Clear("relay.accounts")),
}
TRIES = 10
"""Times that a directed plan is tried: where two must come in one order, it does not come to pass each time."""
PLANS = {update: Plan(OWNERS, (*steps, EVERYBODY)) for update, steps in STEPS.items()}
MADE_FOR = {
    "TheIntegrationIsSuspended": "access-grace",
    "SummonedByVoice": "asked-twice",
    "AccountsChangeHands": "still-by-device",
}
"""Scenarios of one part of the incident: what they let happen is what their own update needs, and little else."""
