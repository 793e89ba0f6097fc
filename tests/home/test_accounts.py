"""What owners change at the account service, which decides anew for each request."""

from __future__ import annotations

import pytest

from tests.home.homes import CAMERA, Answer, Node, call, free_address

OWNERS = ("ada", "grace")


@pytest.fixture
def accounts(start) -> Node:
    node = start("accounts", "accounts/app.py", LISTEN=free_address(), OPERATOR=free_address())
    node.wait_ready()
    described = [{"owner": o, "password": f"pw-{o}", "cameras": [CAMERA]} for o in OWNERS]
    assert call(node.operator, "/operator/provision", {"accounts": described}).status == 200
    return node


def change(accounts: Node, owner: str = "ada", **what: object) -> Answer:
    return call(accounts.operator, "/operator/account", {"owner": owner, **what})


def login(accounts: Node, password: str = "pw-ada", owner: str = "ada") -> Answer:
    return call(accounts.listen, "/login", {"owner": owner, "password": password})


def access(accounts: Node, token: str, camera: str = CAMERA) -> int:
    return call(accounts.listen, "/access", {"token": token, "camera": camera}).status


def test_a_camera_that_is_taken_out_of_an_account_is_refused_to_the_sessions_and_tickets_that_live(accounts):
    token = login(accounts).json()["token"]
    ticket = call(accounts.listen, "/ticket", {"token": token, "camera": CAMERA}).json()["ticket"]
    assert (access(accounts, token), access(accounts, ticket)) == (200, 200)
    assert change(accounts, cameras=[]).status == 200
    assert (access(accounts, token), access(accounts, ticket)) == (403, 403)
    assert change(accounts, cameras=[CAMERA, "graces-living-room"]).status == 200
    assert access(accounts, token, "graces-living-room") == 200, "its session is the one from before"
    other = login(accounts, "pw-grace", "grace").json()["token"]
    assert access(accounts, other, "graces-living-room") == 403


def test_a_new_password_ends_every_session_of_the_account_and_the_old_one_lets_nobody_in(accounts):
    tokens = [login(accounts).json()["token"] for _ in range(2)]
    other = login(accounts, "pw-grace", "grace").json()["token"]
    assert change(accounts, password="new").status == 200
    assert [access(accounts, t) for t in tokens] == [401, 401]
    assert access(accounts, other) == 200
    assert login(accounts).status == 401
    assert access(accounts, login(accounts, "new").json()["token"]) == 200


def test_a_second_factor_is_a_code_that_is_good_once(accounts):
    token = login(accounts).json()["token"]
    assert change(accounts, second_factor=True).status == 200
    assert access(accounts, token) == 200, "who is signed in stays so"
    assert login(accounts).status == 401
    assert login(accounts, "pw-ada000000").status == 401, "nobody was told a code"
    code = call(accounts.operator, "/operator/code", {"owner": "ada"}).json()["code"]
    assert code.isdigit()
    assert len(code) == 6
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    assert [login(accounts, p).status for p in ("pw-ada" + wrong, code, "pw-grace" + code)] == [401, 401, 401]
    assert login(accounts, "pw-ada" + code).status == 200
    assert login(accounts, "pw-ada" + code).status == 401
    assert login(accounts, "pw-grace", "grace").status == 200, "another's account is as it was"


def test_an_owner_is_told_of_each_sign_in_and_of_no_attempt(accounts):
    def told(owner: str = "ada") -> int:
        return call(accounts.operator, "/operator/noted", {"owner": owner}).json()["sign_ins"]

    assert told() == 0
    assert [login(accounts).status for _ in range(2)] == [200, 200]
    assert login(accounts, "wrong").status == 401
    assert (told(), told("grace")) == (2, 0)


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("account", {"owner": "eve", "cameras": []}, 404, "there is no account of 'eve'"),
        ("account", {"owner": "ada", "cameras": "all"}, 400, "the cameras of 'ada' are not a list of names"),
        ("account", {"owner": "ada", "cameras": ["../x"]}, 400, "the cameras of 'ada' are not a list of names"),
        ("account", {"owner": "ada", "second_factor": "yes"}, 400, "second_factor is neither true nor false"),
        ("account", {"owner": "ada", "password": ""}, 400, "password is missing"),
        ("code", {"owner": "ada"}, 404, "the account of 'ada' has no second factor"),
        ("code", {"owner": "eve"}, 404, "there is no account of 'eve'"),
        ("noted", {"owner": "eve"}, 404, "there is no account of 'eve'"),
    ],
)
def test_what_no_account_can_be_changed_to_is_refused(accounts, path, body, status, error):
    token = login(accounts).json()["token"]
    answer = call(accounts.operator, f"/operator/{path}", body)
    assert (answer.status, answer.json()["error"]) == (status, error)
    assert access(accounts, token) == 200
