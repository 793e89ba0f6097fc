"""Where a picture turned foreign, as tables: what the hops carried in, the node that mixed it up out."""

from __future__ import annotations

import msgspec
import pytest

from chaos import updates
from chaos.contracts.reference import topology_of
from chaos.history import Reading, Sighting
from chaos.verdict import Verdict, judge
from chaos.whence import described, whence

from .conversations import Conversation, get, json, ok, picture, post, resp
from .makers import OWNERS, ROOM, asked, case, only, shown, signed_in

STILL = f"/v1/cameras/{ROOM}/still"
HOME = topology_of(OWNERS, None)
EDGE = topology_of(OWNERS, updates.find("edge-cache"))
GATEWAY = topology_of(OWNERS, updates.find("access-gateway"))
OWN = "0123456789abcdef"


def of(owner, frame=1, **more):
    return Sighting(owner=owner, camera=ROOM, case=1, tiles=12, frame=frame, captured=0.5, **more)


def leak(owner="lin", hub="ada", *, at=2.0, began=1.0, **more):
    """A frame of `owner`'s camera that appeared on `hub`'s screen after an ask."""
    frame = shown(at, at + 1, of(owner, **more), hub=hub)
    return only(judge([case(), signed_in(hub, 0.0, 0.1, hub=hub), asked(began, hub=hub), frame]))


def read(data: bytes) -> Reading:
    """Read the pictures of `conversations`: one may name several."""
    names = data[4 : data.index(b"]")].decode().split("|") if b"]" in data else []
    return Reading("picture", tuple(of(n.split(":")[0], int(n.split(":")[1])) for n in names if ":" in n))


def found(talk, topology=HOME, of_leak=None, **how):
    return whence(of_leak or leak(), topology, talk.packets, read, **how)


def asks(talk, hub="ada", shown="lin", at=1.1, took=0.5, link=None, **fields):
    fields = {"Authorization": f"Bearer {OWN}-of-{hub}", "X-Request-Id": f"request-{hub}", **fields}
    return talk.ask(link or f"{hub}.hub", get(STILL, **fields), ok(picture(shown)), at=at, took=took)


# The relay.


def test_a_cache_that_answers_what_was_put_there_is_not_guilty_of_it():
    """As december-26: the key has no owner in it."""
    talk = Conversation(HOME)
    talk.ask("lin.camera", get("/still"), ok(picture("lin")), at=0.5)
    talk.ask("relay.cache", resp("HSET", "still:living-room", "jpeg", picture("lin")), b":1\r\n", at=0.6)
    asks(talk)
    talk.ask("ada.camera", get("/still", X_Request_Id="request-ada"), at=1.2)
    talk.ask("relay.cache", resp("HMGET", "still:living-room", "jpeg"), resp(picture("lin")), at=1.5)
    word = found(talk)
    assert word.node == "relay"
    packets = {(p.link, p.half, p.up, round(p.at, 4)): p.number for p in reversed(talk.packets) if b"\xff\xd8" in p.raw}
    answered = packets["ada.hub", "client", False, 1.6005]
    given, put = packets["relay.cache", "client", False, 1.5205], packets["relay.cache", "client", True, 0.6]
    assert word.sentence == (
        f"It turned foreign in the relay: the relay answered GET {STILL} of ada's hub with lin's picture (packet "
        f"{answered}, ada.hub); lin's picture had come to it over relay.cache (packet {given}), in answer to HMGET "
        f"still:living-room jpeg, where it had been put with HSET still:living-room jpeg (packet {put})."
    )
    assert [(h.link, h.packet, h.right) for h in word.hops] == [
        ("ada.hub", answered, False),
        ("relay.cache", given, True),
        ("relay.cache", put, True),
    ]
    assert described(word.hops[1]).startswith("relay.cache, its client's half: HMGET still:living-room jpeg (packet ")


def test_a_relay_that_asks_a_strangers_camera_is_guilty():
    talk = Conversation(HOME)
    asks(talk)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.2)
    word = found(talk)
    assert word.node == "relay"
    assert "had come to it over lin.camera" in word.sentence


def test_a_relay_that_nobody_told_anything_had_it_in_its_memory():
    talk = Conversation(HOME)
    asks(talk)
    talk.ask("ada.camera", get("/still", X_Request_Id="request-ada"), ok(picture("ada")), at=1.2)
    word = found(talk)
    assert word.node == "relay"
    assert word.sentence.endswith("ada.hub); nothing that it was answered in this case had it.")


def test_a_pooled_connection_on_which_answers_came_in_order_makes_its_user_guilty():
    """As redis-4.5.3 and aiohttp 3.9.0: the client took the last request's answer for its own."""
    talk = Conversation(HOME)
    port = talk.connect("relay.accounts")
    for owner, at in (("lin", 1.0), ("ada", 1.2)):
        talk.say("relay.accounts", port, post("/access", "", X_Request_Id=f"request-{owner}"), at, up=True)
    talk.say("relay.accounts", port, json('{"owner": "lin"}'), 1.3, up=False)
    talk.say("relay.accounts", port, json('{"owner": "ada"}'), 1.4, up=False)
    asks(talk)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.35)
    assert found(talk).node == "relay"


def test_a_relay_that_asks_with_a_strangers_token_is_guilty_of_the_answer():
    """As session-slots: the token was given out together with a name."""
    talk = Conversation(HOME)
    login = post("/login", '{"owner": "lin"}')
    talk.ask("relay.accounts", login, json('{"owner": "lin", "token": "Zq81kXw09TtPl"}'), at=0.2)
    asks(talk, Authorization="Bearer 0")
    access = post("/access", '{"token": "Zq81kXw09TtPl"}', X_Request_Id="request-ada")
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.3)
    assert found(talk).node == "relay"


def test_what_others_were_told_meanwhile_is_no_cause():
    """Lin's own request overlaps with ada's, and is answered rightly."""
    talk = Conversation(HOME)
    asks(talk, took=0.9)
    asks(talk, hub="lin", at=1.15)
    access = post("/access", f'{{"token": "{OWN}-of-lin"}}')
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2)
    assert found(talk).node == "relay"


@pytest.mark.parametrize("mine", ["", "request-ada"])
def test_who_asks_with_what_only_another_request_had_asks_for_that_one(mine):
    """As retry-lane: one try for two, with the token of whoever came first."""
    talk = Conversation(HOME)
    asks(talk, took=0.9, Authorization="Bearer 77aa11")
    asks(talk, hub="lin", at=1.15, Authorization="Bearer 99cc33")
    access = post("/access", '{"token": "99cc33"}', X_Request_Id=mine)
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2)
    assert found(talk).node == "relay"
    access = post("/access", '{"token": "77aa11"}')
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.3)
    assert found(talk).node == "accounts"


def test_what_was_answered_before_the_request_is_no_cause():
    talk = Conversation(HOME)
    talk.ask("relay.accounts", post("/who", "{}"), json('{"owner": "lin"}'), at=0.3)
    asks(talk)
    assert found(talk).node == "relay"


def test_an_answer_that_lists_everybody_names_nobody():
    talk = Conversation(HOME)
    asks(talk)
    everybody = json('["ada", "grace", "lin"]')
    talk.ask("relay.accounts", post("/list", "", X_Request_Id="request-ada"), everybody, at=1.2)
    assert found(talk).node == "relay"


# Further back.


def test_an_account_service_that_names_a_stranger_is_guilty():
    talk = Conversation(HOME)
    asks(talk)
    access = post("/access", f'{{"token": "{OWN}-of-ada"}}', X_Request_Id="request-ada")
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.3)
    word = found(talk)
    assert word.node == "accounts"
    assert (
        "; it had been told so by the accounts, which answered POST /access with the name lin (packet " in word.sentence
    )


@pytest.mark.parametrize(("answer", "node"), [("ada", "gateway"), ("lin", "accounts"), (None, "gateway")])
def test_of_a_gateway_and_what_is_behind_it_who_answered_wrong_is_guilty(answer, node):
    talk = Conversation(GATEWAY)
    asks(talk)
    access = post("/access", f'{{"token": "{OWN}-of-ada"}}', X_Request_Id="request-ada")
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2, took=0.1)
    behind = json(f'{{"owner": "{answer}"}}') if answer else b""
    talk.ask("gateway.accounts", access, behind, at=1.22)
    talk.ask("gateway.accounts", post("/access", "{}", X_Request_Id="request-lin"), json('{"owner": "lin"}'), at=1.23)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.4)
    assert found(talk, GATEWAY).node == node


@pytest.mark.parametrize(("shown", "node"), [("ada", "edge"), ("lin", "relay"), (None, "edge")])
def test_of_an_edge_and_the_relay_behind_it_who_answered_wrong_is_guilty(shown, node):
    talk = Conversation(EDGE)
    asks(talk, hub="lin", at=0.5, took=0.1)
    theirs = get(STILL, Authorization=f"Bearer {OWN}-of-lin", X_Request_Id="request-lin")
    talk.ask("edge.relay", theirs, ok(picture("lin")), at=0.55)
    asks(talk)
    mine = get(STILL, Authorization=f"Bearer {OWN}-of-ada", X_Request_Id="request-ada")
    talk.ask("edge.relay", mine, ok(picture(shown)) if shown else b"", at=1.2)
    word = found(talk, EDGE)
    assert word.node == node
    if node == "edge":
        assert "lin's picture had come to it over edge.relay (packet" in word.sentence


def test_a_camera_that_gives_another_ones_picture_is_guilty():
    talk = Conversation(HOME)
    asks(talk)
    talk.ask("ada.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.2)
    word = found(talk)
    assert word.node == "ada.camera"
    assert word.sentence.startswith("It turned foreign in ada's camera: ")


def test_a_cache_that_gives_what_was_put_under_another_key_is_guilty():
    talk = Conversation(HOME)
    talk.ask("relay.cache", resp("SET", "still:lin", picture("lin")), b"+OK\r\n", at=0.6)
    asks(talk)
    talk.ask("relay.cache", resp("GET", "still:ada"), resp(picture("lin"))[4:], at=1.2)
    assert found(talk).node == "cache"


# Tokens, and what was revoked.

TOKEN = "Zq81kXw09TtPlAAb"


def with_tokens(answer_to_ada):
    """Lin is given a ticket; then ada's hub is, and asks with it."""
    talk = Conversation(HOME)
    login = post("/login", '{"owner": "lin"}')
    talk.ask("relay.accounts", login, json('{"owner": "lin", "token": "5f5f5f5fAAAA"}'), at=0.1)
    talk.ask("relay.accounts", post("/ticket", '{"token": "5f5f5f5fAAAA"}'), json(f'{{"ticket": "{TOKEN}"}}'), at=0.2)
    talk.ask("ada.hub", post("/v1/ticket", "{}", X_Request_Id="say-ada"), json(answer_to_ada), at=0.5)
    asks(talk, Authorization=f"Bearer {TOKEN}")
    access = post("/access", f'{{"token": "{TOKEN}"}}', X_Request_Id="request-ada")
    talk.ask("relay.accounts", access, json('{"owner": "lin"}'), at=1.2)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.3)
    return talk


def test_who_gives_a_hub_a_strangers_token_is_guilty_and_not_who_takes_it():
    word = found(with_tokens(f'{{"ticket": "{TOKEN}"}}'))
    assert word.node == "relay"
    gave = "the relay answered POST /v1/ticket of ada's hub with a token that was given out to lin (packet "
    assert word.sentence.startswith(f"It turned foreign in the relay: {gave}")
    assert f"; ada's hub asked GET {STILL} (packet " in word.sentence


def test_a_hub_that_asks_with_a_strangers_token_that_nobody_gave_it_is_guilty():
    word = found(with_tokens("{}"))
    assert word.node == "ada.hub"
    assert "with a token that was given out to lin, and was answered with lin's picture (packet " in word.sentence


def test_of_what_was_revoked_who_still_hands_it_out_is_guilty():
    """As access-grace: ada's own picture, after she was signed out."""
    talk = Conversation(EDGE)
    login = post("/login", '{"owner": "ada"}')
    talk.ask("relay.accounts", login, json(f'{{"owner": "ada", "token": "{OWN}-of-ada"}}'), at=0.1)
    asks(talk, shown="ada")
    mine = get(STILL, Authorization=f"Bearer {OWN}-of-ada", X_Request_Id="request-ada")
    talk.ask("edge.relay", mine, ok(picture("ada")), at=1.2)
    talk.ask("relay.accounts", post("/access", f'{{"token": "{OWN}-of-ada"}}', X_Request_Id="request-ada"), at=1.21)
    talk.ask("ada.camera", get("/still", X_Request_Id="request-ada"), ok(picture("ada")), at=1.3)
    frame = shown(2.0, 3.0, of("ada"), hub="ada")
    left = [signed_in("ada", 0.0, 0.1), signed_in(None, 0.3, 0.4), asked(1.0), frame]
    revoked = only(judge([case(), *left]))
    assert revoked.verdict is Verdict.REVOKED
    assert found(talk, EDGE, revoked).node == "relay"


# The hub, and what is between.


def test_a_hub_that_was_given_nothing_of_the_kind_kept_it():
    """As instant-on: it came while it was right, in an earlier ask."""
    talk = Conversation(HOME)
    asks(talk, shown="lin", at=0.5, took=0.1)
    talk.ask("ada.hub", get(STILL), b"HTTP/1.1 503 Unavailable\r\n\r\n", at=1.2)
    word = found(talk)
    assert word.node == "ada.hub"
    before = f"had lin's picture; it had come before, in answer to GET {STILL} (packet "
    assert word.sentence.startswith(
        f"It turned foreign in ada's hub: nothing that it was answered since it was asked {before}"
    )
    assert "; none in this case had" in found(Conversation(HOME)).sentence


def test_what_changed_between_the_halves_of_a_link_is_the_links():
    talk = Conversation(HOME)
    port = talk.connect("ada.hub")
    talk.say("ada.hub", port, get(STILL), 1.1, up=True)
    talk.say("ada.hub", port, ok(picture("ada")), 1.2, up=False, half="server")
    talk.say("ada.hub", port, ok(picture("lin")), 1.2, up=False, half="client")
    word = found(talk)
    assert word.node == "the link ada.hub"
    assert "the relay answered" in word.sentence
    assert "Toxiproxy, and faults that change packets" in word.sentence


def test_a_torn_picture_is_followed_to_who_tore_it():
    talk = Conversation(HOME)
    asks(talk, shown="ada:1|lin")
    talk.ask("ada.camera", get("/still", X_Request_Id="request-ada"), ok(picture("ada"))[:900], at=1.2)
    assert found(talk).node == "relay"


def test_of_several_pictures_the_one_that_was_displayed_is_followed():
    talk = Conversation(HOME)
    asks(talk, shown="lin", at=1.1, took=0.1)
    talk.ask("ada.hub", get(STILL), ok(picture("lin", frame=7)), at=1.3)
    word = found(talk, of_leak=leak(frame=7))
    assert word.hops[0].packet == max(p.number for p in talk.packets if b"[lin:7]" in p.raw and p.half == "client")


def test_a_picture_that_came_after_it_was_displayed_was_not_it():
    talk = Conversation(HOME)
    asks(talk, at=2.5)
    assert found(talk).node == "ada.hub"


# What cannot be said.


def test_an_encrypted_hub_is_said_to_be_opaque():
    talk = Conversation(HOME)
    talk.ask("ada.hub", b"\x16\x03\x01\x02\x00hello", b"\x16\x03\x03\x02\x00hello", at=1.1)
    word = found(talk)
    assert (word.nodes, word.node) == ((), None)
    assert word.sentence == "It cannot be said where it turned foreign: ada.hub is encrypted (TLS)."
    assert word.opaque == (("ada.hub", "encrypted (TLS)"),)


def test_behind_an_encrypted_hop_it_may_have_been_either():
    talk = Conversation(HOME)
    asks(talk)
    talk.ask("relay.accounts", b"\x16\x03\x01\x02\x00hello", b"\x16\x03\x03\x02\x00hello", at=0.3)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(picture("lin")), at=1.2)
    word = found(talk)
    assert (word.nodes, word.node) == (("relay", "accounts"), None)
    assert word.sentence.startswith("It turned foreign in the relay or the accounts: ")
    assert word.sentence.endswith(" relay.accounts is encrypted (TLS).")


def test_of_packets_that_were_not_kept_nothing_is_said():
    word = found(Conversation(HOME), whole=False)
    assert word.nodes == ()
    assert "not every packet of the case was kept" in word.sentence
    talk = Conversation(HOME)
    asks(talk, at=0.5, took=0.1)
    assert found(talk, whole=False).nodes == (), "it came before, and may have come again"
    asks(talk)
    assert found(talk, whole=False).sentence.endswith("as far as packets were kept.")


def test_a_hub_that_dials_nobody_is_said():
    home = msgspec.structs.replace(HOME, links=tuple(k for k in HOME.links if k.client != "ada.hub"))
    assert whence(leak(), home, [], read).sentence.endswith("ada.hub dials nobody.")


def test_the_leak_that_these_are_about_is_one():
    assert leak().verdict is Verdict.FOREIGN
