"""A stored finding followed again: what its packets say, and what is told of packets that are cut, foreign or gone."""

from __future__ import annotations

import json

import msgspec
import pytest
from scapy.layers.inet import IP
from scapy.utils import wrpcap

from chaos import keys, pcapng, where
from chaos.captures import Capture
from chaos.contracts.reference import topology_of
from chaos.errors import Misuse
from chaos.history import Sighting
from chaos.identity import Badge
from chaos.run import Finding
from chaos.traces import Trace, _bare
from chaos.verdict import judge
from chaos.whence import Whence

from .conversations import Conversation, get, ok
from .makers import OWNERS, ROOM, asked, case, only, plan, shown, signed_in
from .pictures import jpeg, stamped

HOME = topology_of(OWNERS, None)
STILL = f"/v1/cameras/{ROOM}/still"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A finding's folder: ada's hub was answered with lin's picture, which the relay had from lin's camera."""
    run = tmp_path_factory.mktemp("run")
    key = keys.create(run / "the.key")
    still = jpeg(stamped(Badge(case=1, owner=3, camera=1, frame=1, time_ms=500), key, 640, 360), 70)
    talk = Conversation(HOME)
    talk.ask("ada.hub", get(STILL, X_Request_Id="request-ada"), ok(still), at=1.1, took=0.5)
    talk.ask("lin.camera", get("/still", X_Request_Id="request-ada"), ok(still), at=1.2)
    frame = shown(2.0, 3.0, Sighting("lin", ROOM, 1, 12, 1, 0.5))
    leak = only(judge([case(), signed_in("ada", 0.0, 0.1), asked(1.0), frame]))
    ends = {k.name: (k.client, k.server) for k in HOME.links}
    capture = Capture(tuple(talk.packets), ends, {"10.1.0.3": "relay"}, wall=1_700_000_000.0)
    folder = run / "findings" / "1"
    folder.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"key_id": key.id}))
    finding = Finding("evening", "ada saw lin's living-room", plan(), plan(), leak, None, 1, 1)
    (folder / "finding.json").write_bytes(msgspec.json.encode(finding, enc_hook=str))
    trace = Trace(Whence("It turned foreign elsewhere.", ()), _bare(HOME), capture.wall, whole=True)
    (folder / "whence.json").write_bytes(msgspec.json.encode(trace))
    (folder / "capture.pcapng").write_bytes(capture.file("ada saw lin's living-room"))
    return folder


def told(folder, packets=None, key_file=None) -> tuple[int, str]:
    said: list[str] = []
    code = where.tell(folder, packets, key_file or folder.parent.parent / "the.key", said.append)
    return code, "\n".join(said)


def test_the_node_is_named_again_from_the_packets_alone(stored):
    code, said = told(stored)
    assert code == 0
    assert said.splitlines()[0] == "ada saw lin's living-room"
    assert f"It turned foreign in the relay: the relay answered GET {STILL} of ada's hub with lin's picture" in said
    assert "  lin.camera, its client's half: GET /still (packet " in said
    assert "DIFFERS from what the run said: It turned foreign elsewhere." in said


def test_no_secret_is_stored_beside_the_packets(stored):
    assert b"device-of" not in (stored / "whence.json").read_bytes()


def test_packets_that_were_cut_off_are_told_and_followed_as_far_as_they_go(stored, tmp_path):
    whole = (stored / "capture.pcapng").read_bytes()
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(whole[: len(whole) - 5])
    code, said = told(stored, cut)
    assert code == 0
    assert "was cut off after packet" in said
    cut.write_bytes(whole[: len(whole) // 8])
    code, said = told(stored, cut)
    assert code == 2
    assert "not every packet of the case was kept" in said


def foreign(path, kind):
    if kind == "other hops":
        path.write_bytes(pcapng.written([pcapng.Interface("eth0")], {}, []))
    if kind == "pcap":
        wrpcap(str(path), [IP()])
    if kind == "no capture":
        path.write_text("{}")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "other hops",
            "its interface 0 is called 'eth0', and no link of this finding's home is; expected the file",
        ),
        ("pcap", "this is a capture in the old pcap format"),
        ("no capture", "this is no capture"),
        ("nothing", "cannot be read .No such file or directory.; the packets of a finding are kept there"),
    ],
)
def test_packets_of_something_else_are_a_sentence(stored, tmp_path, kind, sentence):
    path = tmp_path / "given.pcapng"
    foreign(path, kind)
    with pytest.raises(Misuse, match=sentence):
        told(stored, path)


def test_a_folder_that_is_no_finding_and_a_key_that_is_not_had_are_sentences(stored, tmp_path):
    with pytest.raises(Misuse, match=r"finding.json cannot be read .No such file or directory.; expected a folder"):
        told(tmp_path, key_file=stored.parent.parent / "the.key")
    (tmp_path / "finding.json").write_text("{")
    with pytest.raises(Misuse, match="damaged or of another version"):
        told(tmp_path, key_file=stored.parent.parent / "the.key")
    keys.create(tmp_path / "other.key")
    with pytest.raises(Misuse, match="is not had here, and without it no picture says whose it is; give --key-file"):
        told(stored, key_file=tmp_path / "other.key")
