"""Whose a camera is, with whom it is shared, and who is let in to an account: what the judge makes of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest

from chaos import shared
from chaos.contracts.declared import Declared
from chaos.contracts.desk import ReferenceDesk, password
from chaos.errors import Misuse, Surroundings
from chaos.history import Shared, Sold, Unlinked, Unshared, from_line, to_line
from chaos.home import Home, camera_names, check_plan
from chaos.plan import Ask, Plan, Protect, ResetPassword, Sell, Share, Unshare
from chaos.remote import Refused
from chaos.run import sentence
from chaos.topology import Topology
from chaos.verdict import Outcome, Rules, Verdict, conclude, judge, shares
from tests.makers import (
    OWNERS,
    ROOM,
    asked,
    case,
    judged_in_case,
    only,
    passing_run,
    seen,
    shown,
    signed_in,
)

ADA, GRACE = seen("ada"), seen("grace")
SOLD = Sold(owner="ada", to="grace", camera=ROOM, began=9.0, ended=10.0, within=2.0, registered=13.0)
"""Ada's must be dark from 12 on."""
BACK = Sold(owner="grace", to="ada", camera=ROOM, began=19.0, ended=20.0, within=2.0, registered=23.0)


@pytest.mark.parametrize(
    ("what", "expected", "events"),
    [
        ("within the bound", Verdict.OWN, [SOLD, shown(9.5, 11.9, ADA)]),
        ("after the bound", Verdict.REVOKED, [SOLD, shown(11, 13, ADA)]),
        ("the buyer's home", Verdict.FOREIGN, [SOLD, shown(14, 15, GRACE)]),
        ("another camera of hers", Verdict.MISDIRECTED, [SOLD, shown(14, 15, seen("ada", "porch"))]),
        ("bought back", Verdict.OWN, [SOLD, BACK, shown(23.5, 25, ADA)]),
        ("before it was bought back", Verdict.REVOKED, [SOLD, BACK, shown(14, 15, ADA)]),
        ("somebody else sold hers", Verdict.OWN, [BACK, shown(30, 31, ADA)]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_the_seller_is_shown_of_a_camera_that_is_sold(what, expected, events):
    judged = judged_in_case(*events)
    assert judged.verdict is expected
    assert (judged.withdrawn == "sold") is (expected is Verdict.REVOKED)


def test_the_buyer_who_is_shown_what_the_camera_filmed_before_sees_a_stranger():
    at_graces = [case(), signed_in("grace", 0, 1, hub="grace"), asked(2, hub="grace"), SOLD]
    own = only(judge([*at_graces, shown(14, 15, GRACE, hub="grace")]))
    old = only(judge([*at_graces, shown(14, 15, ADA, hub="grace")]))
    assert (own.verdict, old.verdict) == (Verdict.OWN, Verdict.FOREIGN)
    assert sentence(old) == "grace saw ada's living-room on the hub in grace's home, while all links were clear."


def test_a_camera_that_is_sold_and_still_shown_is_told_as_that():
    assert sentence(judged_in_case(SOLD, shown(14, 15, ADA))) == (
        "the hub in ada's home, sold, showed ada's living-room, while all links were clear."
    )


GUEST = Shared(owner="lin", guest="ada", camera=ROOM, name=shared("lin"), began=4.0, ended=5.0)
NO_MORE = Unshared(owner="lin", guest="ada", began=9.0, ended=10.0, within=2.0)
"""In effect from 12 on."""
LIN = seen("lin")
ASKS = asked(6.0, camera=shared("lin"), ask=2)


@pytest.mark.parametrize(
    ("what", "expected", "events"),
    [
        ("asked for, while it is shared", Verdict.OWN, [GUEST, ASKS, shown(7, 8, LIN)]),
        ("not asked for, while it is shared", Verdict.MISDIRECTED, [GUEST, shown(7, 8, LIN)]),
        ("her own, when she asked for the other", Verdict.MISDIRECTED, [GUEST, ASKS, shown(7, 8, ADA)]),
        ("never shared", Verdict.FOREIGN, [ASKS, shown(7, 8, LIN)]),
        ("before it was shared", Verdict.FOREIGN, [GUEST, asked(2.5, camera=shared("lin"), ask=2), shown(3, 3.5, LIN)]),
        ("another camera of the owner's", Verdict.FOREIGN, [GUEST, ASKS, shown(7, 8, seen("lin", "porch"))]),
        ("a third one's", Verdict.FOREIGN, [GUEST, ASKS, shown(7, 8, GRACE)]),
        ("within the bound of its end", Verdict.OWN, [GUEST, ASKS, NO_MORE, shown(9.5, 11.9, LIN)]),
        ("after the bound", Verdict.FOREIGN, [GUEST, ASKS, NO_MORE, shown(11, 13, LIN)]),
        ("another guest's came to its end", Verdict.OWN, [
            GUEST, ASKS, Unshared(owner="lin", guest="grace", began=9, ended=10, within=2), shown(13, 14, LIN)]),
        ("its owner sold it", Verdict.FOREIGN, [
            GUEST, ASKS, Sold(owner="lin", to="grace", camera=ROOM, began=9, ended=10, within=2, registered=13),
            shown(13, 14, LIN)]),
        ("shared anew", Verdict.OWN, [
            GUEST, NO_MORE, Shared(owner="lin", guest="ada", camera=ROOM, name=shared("lin"), began=20, ended=21),
            asked(22, camera=shared("lin"), ask=2), shown(23, 24, LIN)]),
        ("the owner's sessions ended", Verdict.OWN, [
            GUEST, ASKS, Unlinked(owner="lin", began=9, ended=10, within=0), shown(13, 14, LIN)]),
        ("the guest's sessions ended", Verdict.REVOKED, [
            GUEST, ASKS, Unlinked(owner="ada", began=9, ended=10, within=0), shown(13, 14, LIN)]),
        ("old, of another case", Verdict.STALE, [GUEST, ASKS, shown(7, 8, seen("lin", case=0))]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_a_guest_is_shown(what, expected, events):
    assert judged_in_case(*events).verdict is expected


def test_a_guest_is_at_any_hub_that_is_signed_in_to_her_account_and_at_no_other():
    abroad = [case(), GUEST, asked(6, hub="grace", camera=shared("lin")), shown(7, 8, LIN, hub="grace")]
    assert only(judge([*abroad, signed_in("ada", 0, 1, hub="grace")])).verdict is Verdict.OWN
    assert only(judge([*abroad, signed_in("grace", 0, 1, hub="grace")])).verdict is Verdict.FOREIGN


def test_what_is_shared_no_more_and_still_shown_is_told_as_that():
    leak = judged_in_case(GUEST, ASKS, NO_MORE, shown(11, 13, LIN))
    assert sentence(leak) == (
        "ada saw lin's living-room, shared no more, on the hub in ada's home, while all links were clear."
    )


def test_sharing_lasts_until_the_first_end_of_it_is_in_effect():
    assert [(s.since, s.until) for s in shares([NO_MORE, GUEST, SOLD])] == [(4.0, 12.0)]
    assert [(s.since, s.until) for s in shares([GUEST])] == [(4.0, float("inf"))]


def let_in(*, hub: str = "grace", rules: Rules | None = None, **fields: object) -> Verdict:
    """Judge Ada's living room on a hub that signed in to her account in such a way."""
    sign_in = msgspec.structs.replace(signed_in("ada", 0, 1, hub=hub), **fields)
    return only(judge([case(), sign_in, asked(2, hub=hub), shown(6, 9, ADA, hub=hub)], rules)).verdict


@pytest.mark.parametrize(
    ("proof", "noticed", "newcomers", "expected"),
    [
        ("password", False, "password", Verdict.OWN),
        ("password", True, "notice", Verdict.OWN),
        ("password", False, "notice", Verdict.FOREIGN),
        ("password", None, "notice", Verdict.FOREIGN),
        ("password", True, "second factor", Verdict.FOREIGN),
        ("second factor", False, "second factor", Verdict.OWN),
        ("second factor", False, "notice", Verdict.OWN),
        ("old password", True, "password", Verdict.FOREIGN),
        ("password alone", True, "password", Verdict.FOREIGN),
    ],
)
def test_a_login_from_a_second_hub_is_a_new_requester_from_whom_a_scenario_can_demand_more(
    proof, noticed, newcomers, expected
):
    assert let_in(proof=proof, noticed=noticed, rules=Rules(newcomers=newcomers)) is expected


@pytest.mark.parametrize("newcomers", ["password", "notice", "second factor"])
def test_the_hub_at_home_is_no_newcomer(newcomers):
    assert let_in(hub="ada", rules=Rules(newcomers=newcomers)) is Verdict.OWN


def test_a_sale_whose_buyer_is_shown_nothing_and_a_guest_who_never_was_say_nothing():
    dark = conclude(passing_run(msgspec.structs.replace(SOLD, registered=990.0)))
    assert dark.outcome is Outcome.INCONCLUSIVE
    assert any("'shown to the buyer after a sale' was aimed at 1 times" in r for r in dark.reasons)
    guestless = conclude(passing_run(GUEST, NO_MORE))
    assert any("'shown to a guest before it was shared no more' was aimed at" in r for r in guestless.reasons)


@pytest.mark.parametrize("event", [SOLD, GUEST, NO_MORE])
def test_the_events_survive_their_line(event):
    assert from_line(to_line(event)) == event


# Bad input.


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (lambda: Sell("ada", "ada"), "sell names 'ada' twice; expected a buyer who is not the seller"),
        (lambda: Share("ada", "ada"), "share names 'ada' twice; expected a guest who is not the owner"),
        (lambda: Unshare("ada", "ada"), "unshare names 'ada' twice"),
        (lambda: Sell("ada", "lin", -1), r"sell\.within_ms is -1; expected whole milliseconds from 0 to 60,000"),
        (lambda: Unshare("ada", "lin", 60_001), r"unshare\.within_ms is 60001"),
        (lambda: ResetPassword("ada", 0.5), r"reset_password\.within_ms is 0\.5"),
    ],
)
def test_what_nobody_can_do_is_refused(step, told):
    with pytest.raises(Misuse, match=told):
        step()


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Sell("ada", "linn"), "there is no 'linn'; did you mean 'lin'"),
        (Share("add", "lin"), "there is no 'add'; did you mean 'ada'"),
        (Protect("nobody"), "there is no 'nobody'"),
        (Ask("ada", camera="lins-livingroom"), "no camera 'lins-livingroom'; did you mean 'lins-living-room'"),
    ],
)
def test_an_owner_or_a_shared_camera_that_there_is_not_is_named_before_anything_starts(step, told):
    with pytest.raises(Misuse, match=told):
        check_plan(Plan(OWNERS, (step,)), Topology(OWNERS, (), ()))


def test_a_home_without_such_a_handle_says_so():
    with pytest.raises(Misuse, match="leave sell, share, unshare, reset_password and protect out"):
        Home.desk(SimpleNamespace(contract=SimpleNamespace(desk=None)))  # type: ignore[arg-type]
    assert Declared.desk.fget(SimpleNamespace()) is None  # type: ignore[attr-defined]


def test_a_seller_and_a_guest_are_about_both_and_go_with_either():
    plan = Plan(OWNERS, (Sell("ada", "lin"), Share("ada", "grace"), Protect("ada")))
    assert plan.without("lin").steps == (Share("ada", "grace"), Protect("ada"))
    assert plan.without("grace").steps == (Sell("ada", "lin"), Protect("ada"))
    assert camera_names(Topology(OWNERS, (), ()))[1:] == ("adas-living-room", "graces-living-room", "lins-living-room")


# The desk of the reference home.


class Service:
    """Stands for the account service's operator port: takes everything, and remembers it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, object]]] = []
        self.silent = False

    def post(self, path: str, body: dict[str, object]) -> bytes:
        if self.silent:
            raise Surroundings("accounts did not answer")
        self.told.append((path, body))
        return json.dumps({"code": "123456", "sign_ins": 2}).encode()


@pytest.fixture
def desk():
    registry: list[list[tuple[str, str, str, str]]] = []
    desk = ReferenceDesk(OWNERS, (ROOM,), lambda: registry.append(list(desk.devices())))
    desk.service, desk.registry = Service(), registry
    desk.connect(desk.service)
    return desk


def test_everybody_begins_with_her_own(desk):
    assert list(desk.devices()) == [(o, ROOM, o, ROOM) for o in OWNERS]
    assert [a["cameras"] for a in desk.accounts()] == [[ROOM]] * 3
    assert [desk.seen(o) for o in OWNERS] == [()] * 3


def test_what_is_sold_is_the_buyers_and_nobody_elses(desk):
    desk.share("ada", "lin")
    assert desk.unregister("ada") == "ada"
    assert desk.service.told[-2:] == [
        ("/operator/account", {"owner": "ada", "cameras": []}),
        ("/operator/account", {"owner": "lin", "cameras": [ROOM]}),
    ], "the account service is told before the registry, and of the guest too"
    assert desk.unregister("ada") is None
    desk.register("ada", "grace")
    assert desk.registry[-1] == [("grace", ROOM, "ada", ROOM), ("lin", ROOM, "lin", ROOM)]
    assert [desk.seen(o) for o in OWNERS] == [(), ("ada",), ()]
    assert desk.unregister("grace") == "ada", "it can be sold again"
    assert desk.share("grace", "lin") is False, "who has none shares none"


def test_what_is_shared_is_among_the_guests_cameras_until_it_is_no_more(desk):
    assert desk.share("ada", "lin")
    assert desk.share("ada", "lin"), "twice is once"
    assert [a["cameras"] for a in desk.accounts()] == [[ROOM], [ROOM], [shared("ada"), ROOM]]
    assert desk.seen("lin") == ("ada",)
    desk.unshare("ada", "lin")
    desk.unshare("ada", "lin")
    assert [a["cameras"] for a in desk.accounts()] == [[ROOM]] * 3


def test_a_new_password_is_known_at_home_alone(desk):
    desk.reset_password("ada")
    assert desk.service.told == [("/operator/account", {"owner": "ada", "password": password("ada", 1)})]
    assert (desk.secret("ada", "ada"), desk.proof("ada", "ada")) == (password("ada", 1), "password")
    assert (desk.secret("lin", "ada"), desk.proof("lin", "ada")) == (password("ada"), "old password")
    assert password("ada") != password("ada", 1) != password("ada", 2)


def test_a_code_is_had_at_home_alone(desk):
    assert desk.proof("lin", "ada") == "password"
    desk.protect("ada")
    assert (desk.secret("ada", "ada"), desk.proof("ada", "ada")) == (password("ada") + "123456", "second factor")
    assert (desk.secret("lin", "ada"), desk.proof("lin", "ada")) == (password("ada"), "password alone")
    assert [a["second_factor"] for a in desk.accounts()] == [True, False, False]
    assert desk.noted("ada") == 2


def test_an_account_service_that_gives_no_code_lets_nobody_in_and_breaks_nothing(desk):
    desk.protect("ada")
    desk.service.silent = True
    assert desk.secret("ada", "ada") == password("ada")
    with pytest.raises((Refused, Surroundings)):
        desk.protect("lin")


def test_a_case_begins_with_nothing_of_the_last_one(desk):
    desk.unregister("ada")
    desk.register("ada", "lin")
    desk.share("grace", "lin")
    desk.reset_password("ada")
    desk.protect("ada")
    desk.begin()
    assert list(desk.devices()) == [(o, ROOM, o, ROOM) for o in OWNERS]
    assert desk.proof("lin", "ada") == "password"
