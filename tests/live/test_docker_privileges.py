"""What a container of a run may do: as the kernel says, as the engine was told, and as a node finds when it tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from .docker_home import engine, run_in, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]
TAP = 1 << 12 | 1 << 13
"""CAP_NET_ADMIN and CAP_NET_RAW, over a network that no node is in."""
NODES = ["ada.camera", "ada.hub", "relay", "accounts", "cache"]


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def stack(client, tmp_path_factory):
    with running_home(tmp_path_factory.mktemp("home")) as (_, running, _):
        yield running


def _all(stack):
    return stack._containers.items()


def test_the_kernel_gives_no_container_but_the_tap_a_user_a_capability_or_a_way_to_get_one(client, stack):
    for name, container in _all(stack):
        pid = client.api.inspect_container(container.id)["State"]["Pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        user, may = ("0", TAP) if name == "tap" else ("10001", 0)
        assert set(status["Uid"].split()) == {user}, name
        assert set(status["Gid"].split()) == {user}, name
        assert {int(status[f"Cap{x}"], 16) for x in ("Eff", "Prm", "Bnd")} == {may}, name
        assert {int(status[f"Cap{x}"], 16) for x in ("Inh", "Amb")} <= {0, may}, name
        assert status["NoNewPrivs"] == "1", name
        assert status["Seccomp"] == "2", name


def test_every_container_is_limited_and_sees_nothing_of_the_host(client, stack):
    for name, container in _all(stack):
        about = client.api.inspect_container(container.id)
        host = about["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert 0 < host["Memory"] <= 256 * 2**20, name  # a node of home.toml may have more, as a browser has
        assert host["MemorySwap"] == host["Memory"], name
        assert 0 < host["PidsLimit"] <= 128, name
        assert not host["Privileged"], name
        assert not host["PortBindings"], name
        assert host["PidMode"] in ("", "private"), name
        assert host["RestartPolicy"]["Name"] in ("", "no"), name
        mounts = [(m["Destination"], m["RW"]) for m in about["Mounts"] if m["Type"] != "tmpfs"]
        assert mounts == ([("/ownframe", False)] if name in ("wire", "tap") else []), name


def test_toxiproxy_has_a_file_system_with_nothing_but_itself(client, stack):
    image = client.api.inspect_container(stack._containers["toxiproxy"].id)["Image"]
    layers = client.api.inspect_image(image)["RootFS"]["Layers"]
    assert len(layers) == 1


@pytest.mark.parametrize("node", NODES)
def test_a_node_can_write_to_its_temporary_folder_alone_and_run_nothing_from_it(client, stack, node):
    program = """
import os, subprocess
def tried(do):
    try: do()
    except OSError as no: return no.strerror
    return "done"
places = ["/", "/srv/home", "/opt/node", "/etc", "/usr/bin", "/root"]
print([tried(lambda: open(p + "/written", "w")) for p in places])
print(tried(lambda: open("/tmp/written", "w").write("exit 0")), end=" ")
os.chmod("/tmp/written", 0o755)
print(tried(lambda: subprocess.run(["/tmp/written"])))
"""
    first, second = run_in(client, stack._containers[node].id, program).splitlines()
    assert set(eval(first)) <= {"Read-only file system", "Permission denied"}
    assert second == "done Permission denied"


@pytest.mark.parametrize("node", NODES)
def test_a_node_cannot_make_raw_packets_change_a_route_or_make_too_many_processes(client, stack, node):
    program = """
import fcntl, os, socket
def tried(do):
    try: do()
    except OSError as no: return no.strerror
    return "done"
print(tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
print(tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
print(tried(lambda: fcntl.ioctl(socket.socket(), 0x890B, bytes(128))))
children = []
def fork():
    while len(children) < 400:
        child = os.fork()
        if not child:
            import time; time.sleep(20); os._exit(0)
        children.append(child)
print(tried(fork))
for c in children: os.kill(c, 9)
"""
    said = run_in(client, stack._containers[node].id, program).splitlines()
    assert said == [
        "Operation not permitted",
        "Operation not permitted",
        "Operation not permitted",
        "Resource temporarily unavailable",
    ]
