"""The assistant's way in: the fields that Google documents, and nobody's camera but the owner's."""

from __future__ import annotations

import pytest

from tests.home.homes import CAMERA, Hub, Street, call, delayed, hub_of, owner_of, wait_until

GET_STREAM = "action.devices.commands.GetCameraStream"


def ask(street: Street, token: str, **intent: object):
    body = {"requestId": "ff36a3cc", "inputs": [intent]}
    return call(street.relay.listen, "/v1/fulfillment", body, Authorization=f"Bearer {token}")


def execute(street: Street, token: str, device: str = CAMERA, command: str = GET_STREAM, protocol: str = "jpeg"):
    params = {"StreamToChromecast": True, "SupportedStreamProtocols": ["webrtc", protocol]}
    commands = [{"devices": [{"id": device}], "execution": [{"command": command, "params": params}]}]
    answer = ask(street, token, intent="action.devices.EXECUTE", payload={"commands": commands})
    assert (answer.status, answer.json()["requestId"]) == (200, "ff36a3cc")
    (result,) = answer.json()["payload"]["commands"]
    assert result["ids"] == [device]
    return result


def test_sync_tells_the_owner_s_cameras_in_the_fields_of_the_trait(street):
    payload = ask(street, street.token("grace"), intent="action.devices.SYNC").json()["payload"]
    assert payload["agentUserId"] == "grace"
    (device,) = payload["devices"]
    assert device == {
        "id": CAMERA,
        "type": "action.devices.types.CAMERA",
        "traits": ["action.devices.traits.CameraStream"],
        "name": {"name": "living room"},
        "willReportState": False,
        "attributes": {"cameraStreamSupportedProtocols": ["mjpeg", "jpeg"], "cameraStreamNeedAuthToken": True},
    }


def test_get_camera_stream_gives_an_address_and_a_token_for_that_camera_alone(street):
    states = execute(street, street.token("ada"))["states"]
    assert states.keys() == {
        "online",
        "cameraStreamAccessUrl",
        "cameraStreamReceiverAppId",
        "cameraStreamAuthToken",
        "cameraStreamProtocol",
    }
    assert states["cameraStreamAccessUrl"] == f"http://{street.relay.listen}/v1/cameras/{CAMERA}/still"
    assert states["cameraStreamProtocol"] == "jpeg"
    assert street.still(states["cameraStreamAuthToken"]).status == 200
    assert street.still(states["cameraStreamAuthToken"], camera="nursery").status == 403


def test_a_ticket_ends_with_its_session(street):
    token = street.token("ada")
    ticket = execute(street, token)["states"]["cameraStreamAuthToken"]
    assert call(street.relay.listen, "/v1/logout", {}, Authorization=f"Bearer {token}").status == 200
    assert street.still(ticket).status == 401


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ({"device": "attic"}, "deviceNotFound"),
        ({"command": "action.devices.commands.OnOff"}, "functionNotSupported"),
        ({"protocol": "hls"}, "functionNotSupported"),
    ],
)
def test_what_cannot_be_had_is_an_error_of_the_device(street, what, code):
    result = execute(street, street.token("ada"), **what)
    assert (result["status"], result["errorCode"]) == ("ERROR", code)


def test_what_is_no_intent_is_refused(street):
    assert ask(street, street.token("ada"), intent="action.devices.QUERY").status == 400
    assert ask(street, "nobody's token", intent="action.devices.SYNC").status == 401


def test_a_suspended_integration_tells_of_nothing_and_one_without_cameras_of_no_camera(street):
    token = street.token("ada")
    for state, status, devices in (("suspended", 403, None), ("without cameras", 200, []), ("on", 200, 2)):
        assert call(street.accounts.operator, "/operator/integration", {"state": state}).status == 200
        answer = ask(street, token, intent="action.devices.SYNC")
        assert answer.status == status
        if devices is not None:
            told = answer.json()["payload"]["devices"]
            assert (told if devices == [] else len(told)) == devices


def say(hub: Hub, said: str) -> str:
    return hub.settled(int(hub.post("say", {"said": said}).json()["ask"]))


@pytest.mark.parametrize("said", ["show the living room", "Show me the  Living Room", "living room"])
def test_what_is_said_is_shown(street, said):
    hub = street.hubs["grace"]
    assert hub.sign_in("grace").status == 200
    assert say(hub, said) == "picture"
    assert owner_of(hub.screen()) == "grace"


def test_a_name_that_nothing_has_is_unavailable(street):
    hub = street.hubs["grace"]
    assert hub.sign_in("grace").status == 200
    assert say(hub, "show the attic") == "unavailable"
    assert "there is no camera 'attic'" in hub.node.log


def test_whoever_signs_in_next_is_told_of_her_own_cameras(street):
    hub = street.hubs["grace"]
    assert hub.sign_in("ada").status == 200
    assert say(hub, "show the nursery") == "unavailable"  # it has no device
    assert hub.sign_in("lin").status == 200
    assert say(hub, "show the living room") == "picture"
    assert owner_of(hub.screen()) == "lin"


def test_an_intent_that_is_late_is_asked_again_with_its_number_and_shown_once(street):
    """0.25 s each for the list of cameras, the stream's address and the picture."""
    with delayed(street.relay.listen, lambda: 0.25) as address:
        node = street.start("far", "hub/app.py", **hub_of(address=address, ASK_TOTAL="5"))
        node.wait_ready()
        hub = Hub(node)
        assert hub.sign_in("hedy").status == 200
        wait_until("what was said is shown", lambda: say(hub, "show the living room") == "picture")
        assert owner_of(hub.screen()) == "hedy"
    asked = [line for line in street.relay.log.splitlines() if "/v1/fulfillment" in line and "status=200" in line]
    assert len(asked) >= 2
