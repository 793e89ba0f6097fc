"""A rendered compose file in, a topology out; and every way around the links refused in a sentence. No engine."""

from __future__ import annotations

import copy
import json
import shutil
import socket
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from chaos.compose import read, understand
from chaos.compose.drawing import as_mermaid, as_svg, as_text
from chaos.compose.labels import LABELS, Request, Screen, labels
from chaos.compose.lens import filled
from chaos.errors import Misuse, Surroundings
from chaos.topology import Mount

STOCK = Path(__file__).parents[1] / "scenarios" / "stock"
OWNERS = ("ada", "grace", "lin")


@pytest.fixture
def home(tmp_path):
    """The stock home as Compose renders it, to be changed, and understood where its files are."""
    for file in STOCK.iterdir():
        shutil.copy(file, tmp_path)

    class Home:
        content = json.loads((STOCK / "compose.json").read_text())
        folder = tmp_path

        def __getitem__(self, service):
            return self.content["services"][service]

        def understood(self):
            (tmp_path / "changed.json").write_text(json.dumps(self.content))
            return understand(read([tmp_path / "changed.json"]))

    return Home()


# What is understood.


def test_the_stock_home_is_three_cameras_a_relay_and_three_hubs(home):
    system = home.understood()
    system.check()
    assert system.topology.owners == OWNERS
    assert sorted(n.name for n in system.topology.nodes) == sorted(
        ["relay", *(f"{o}.{r}" for o in OWNERS for r in ("camera", "hub"))]
    )
    assert system.services["ada.camera"] == "camera-ada"
    ends = {k.name: (k.client, k.server, k.port, k.names) for k in system.topology.links}
    assert ends["ada.hub"] == ("ada.hub", "relay", "80", ("relay",))
    assert ends["lin.camera"] == ("relay", "lin.camera", "80", ("camera-lin",))
    assert [k.name for k in system.topology.between("ada", "grace")] == ["ada.hub", "grace.camera"]
    assert system.topology.node("relay").forget[0] == "find"
    assert system.labels["lin.hub"].screen == Screen("http", 80, "/lin/still")
    assert system.topology.node("lin.hub").numbers == {"80": 80}


@pytest.mark.parametrize("file", ["wrong.json", "docker-compose-1.29.yaml"])
def test_what_compose_rendered_elsewhere_is_the_same_home(file, tmp_path):
    """Both were recorded: by Compose 2.40.3, and by docker-compose 1.29.2, which prints YAML and short forms."""
    folder = STOCK if file == "wrong.json" else Path(__file__).parent / "recorded"
    for each in STOCK.iterdir():
        shutil.copy(each, tmp_path)
    text = (folder / file).read_text().replace("/x/", f"{tmp_path}/").replace("context: /x", f"context: {tmp_path}")
    rendered = tmp_path / f"{file}.json"
    rendered.write_text(text)
    system = understand(read([rendered]))
    system.check()
    assert len(system.topology.links) == 6
    (mount,) = (m for m in system.topology.node("relay").container.mounts if m.kind == "bind")
    assert mount == Mount("bind", "/etc/nginx/nginx.conf", f"{tmp_path}/relay-wrong.conf", read_only=True)
    assert system.topology.node("ada.camera").container.lens.files.keys() == {"/etc/nginx/nginx.conf"}


def _compose(file: Path) -> bytes:
    try:
        return json.dumps(read([file]).content).encode()
    except Surroundings as missing:
        pytest.skip(f"NOT RUN without Docker Compose: {missing}")


def test_the_rendered_files_are_those_of_the_compose_files():
    """So that sites without Compose test what stands beside them."""
    written = yaml.safe_load((STOCK / "compose.yaml").read_text())["services"]
    rendered = json.loads((STOCK / "compose.json").read_text())["services"]
    assert {n: s["labels"] for n, s in written.items()} == {n: s["labels"] for n, s in rendered.items()}
    for name, service in written.items():
        assert sorted(service.get("depends_on", [])) == sorted(rendered[name].get("depends_on", {}))
    wrong = json.loads((STOCK / "wrong.json").read_text())["services"]
    assert [n for n in rendered if rendered[n] != wrong[n]] == ["relay"]


def test_compose_itself_reads_the_same(monkeypatch):
    monkeypatch.delenv("OWNFRAME_DOCKER_BASE", raising=False)
    content = json.loads(_compose(STOCK / "compose.yaml"))
    rendered = json.loads((STOCK / "compose.json").read_text())
    for service in (*content["services"].values(), *rendered["services"].values()):
        for volume in service["volumes"]:
            volume["source"] = Path(volume["source"]).name
        service["build"]["context"] = "."
    assert content["services"] == rendered["services"]


def test_depends_on_and_links_are_hops_to_every_port_that_is_known_and_dials_stand_alone(home):
    home["relay"]["expose"] = ["80", "90-91"]
    del home["hub-ada"]["labels"]["ownframe.dials"]
    home["hub-lin"]["labels"]["ownframe.dials"] = ""
    system = home.understood()
    dialled = [(h.link.name, h.link.port, h.known_from) for h in system.hops if h.link.client == "ada.hub"]
    assert dialled == [(f"ada.hub.relay.{p}", p, "depends_on") for p in ("80", "90", "91")]
    assert all(k.device_dials for k in system.topology.links if k.client == "ada.hub")
    assert not [k for k in system.topology.links if k.client == "lin.hub"]
    assert any("no way of links leads from lin.hub to lin.camera (it leads to nobody)" in m for m in system.missing)


def test_a_linked_service_is_known_by_its_alias_too_and_a_camera_may_dial(home):
    home["hub-ada"]["links"] = ["relay:cloud"]
    home["relay"]["container_name"] = "the-relay"
    home["relay"]["networks"] = {"default": {"aliases": ["www"]}}
    del home["relay"]["depends_on"]["camera-lin"]
    home["camera-lin"]["labels"]["ownframe.dials"] = "relay:80"
    system = home.understood()
    links = {k.name: k for k in system.topology.links}
    assert links["ada.hub"].names == ("relay", "the-relay", "www", "cloud")
    assert (links["lin.camera"].client, links["lin.camera"].device_dials) == ("lin.camera", True)
    assert [k.name for k in system.topology.between("lin", "lin")] == ["lin.hub", "lin.camera"]
    assert system.missing == ()


def test_a_service_that_others_wait_for_until_it_has_ended_is_a_job_and_no_server(home):
    home.content["services"]["migrate"] = {"image": "migrate", "networks": {"default": None}}
    home["relay"]["depends_on"]["migrate"] = {"condition": "service_completed_successfully"}
    system = home.understood()
    assert not system.topology.node("migrate").lasts
    assert "migrate" in system.topology.node("relay").container.after
    assert not [k for k in system.topology.links if "migrate" in (k.client, k.server)]


def test_variables_are_those_of_here_and_a_dollar_is_one(home, monkeypatch):
    monkeypatch.setenv("TOKEN", "of here")
    home["relay"]["environment"] = {"TOKEN": None, "GONE": None, "PRICE": "5$$", "N": 5, "YES": True}
    environment = home.understood().topology.node("relay").container.environment
    assert environment == {"TOKEN": "of here", "PRICE": "5$", "N": "5", "YES": "true"}


def test_a_container_is_run_as_the_file_says(home):
    home["relay"].update({
        "user": "100:100", "working_dir": "/w", "hostname": "h", "restart": "unless-stopped", "read_only": True,
        "entrypoint": ["/e", "a b"], "command": "c 'd e'", "mem_limit": "64m", "shm_size": "67108864", "cpus": 0.5,
        "cap_drop": ["ALL"], "cap_add": ["NET_BIND_SERVICE"], "ulimits": {"nofile": {"soft": 1, "hard": 2}, "nproc": 3},
        "healthcheck": {"test": ["CMD", "true"], "interval": "1m30s", "timeout": "250ms", "retries": 3},
        "sysctls": {"net.core.somaxconn": "1024"}, "security_opt": ["no-new-privileges=true"], "init": True,
        "configs": [{"source": "c", "target": "/c"}], "secrets": [{"source": "s"}],
    })  # fmt: skip
    home.content |= {"configs": {"c": {"content": "x"}}, "secrets": {"s": {"file": "./hub.conf"}}}
    system = home.understood()
    system.check()
    made = system.topology.node("relay").container
    assert (made.user, made.working_dir, made.hostname, made.restarts) == ("100:100", "/w", "h", True)
    assert (made.entrypoint, made.command) == (("/e", "a b"), ("c", "d e"))
    assert (made.health.interval, made.health.timeout) == (90_000_000_000, 250_000_000)
    assert made.options == {
        "cap_add": ["NET_BIND_SERVICE"], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"],
        "read_only": True, "shm_size": 64 << 20, "mem_limit": 64 << 20, "nano_cpus": 500_000_000, "init": True,
        "sysctls": {"net.core.somaxconn": "1024"},
        "ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "nproc", "Soft": 3, "Hard": 3}],
    }  # fmt: skip
    kinds = {m.target: (m.kind, m.content or Path(m.source).name) for m in made.mounts}
    assert kinds["/c"] == ("file", "x")
    assert kinds["/run/secrets/s"] == ("bind", "hub.conf")
    assert kinds["/var/cache/nginx"] == ("tmpfs", "")


# The lens.


def test_a_lens_is_filled_in_where_its_text_stands(home):
    container = home.understood().topology.node("ada.camera").container
    (mount,) = filled(container, "http://127.0.0.1:5/lens/ada/living-room").mounts
    assert (mount.kind, mount.target, mount.read_only) == ("file", "/etc/nginx/nginx.conf", True)
    assert "proxy_pass http://127.0.0.1:5/lens/ada/living-room;" in mount.content
    assert "sensor.invalid" not in mount.content


@pytest.mark.parametrize(
    ("service", "label", "serves", "where"),
    [
        ({"environment": {"SOURCE": "rtsp://10.0.0.9/live"}}, "env:SOURCE", "rtsp", "environment"),
        ({}, "env:SOURCE", "still", "environment"),  # the label beside it says so
        ({"command": ["cam", "--from=rtsp://sensor/1"]}, "rtsp://sensor/1", "rtsp", "command"),
        (
            {"environment": {"URL": "see http://sensor.invalid/x?y"}},
            "http://sensor.invalid/x?y",
            "mjpeg",
            "environment",
        ),
        ({}, "/media/film.mjpeg", "file", "mounts"),
    ],
)
def test_a_lens_may_be_a_variable_a_word_or_a_file(home, service, label, serves, where):
    del home["camera-ada"]["labels"]["ownframe.lens.serves"]
    home["camera-ada"].update(service)
    home["camera-ada"]["labels"]["ownframe.lens"] = label
    if serves == "still":
        home["camera-ada"]["labels"]["ownframe.lens.serves"] = "still"
    container = home.understood().topology.node("ada.camera").container
    assert container.lens.serves == serves
    changed = filled(container, "NEW")
    assert "NEW" in str(getattr(changed, where))
    assert changed != container


def test_a_lens_in_a_folder_that_is_mounted_is_found(home):
    (home.folder / "conf" / "deep").mkdir(parents=True)
    (home.folder / "conf" / "deep" / "camera.ini").write_text("source = http://sensor.invalid/film\n")
    (home.folder / "conf" / "logo.bin").write_bytes(b"\xff\x00")
    home["camera-ada"]["volumes"] = [{"type": "bind", "source": "./conf", "target": "/etc/cam", "read_only": True}]
    container = home.understood().topology.node("ada.camera").container
    assert container.lens.files.keys() == {"/etc/cam/deep/camera.ini"}
    assert [m.kind for m in filled(container, "NEW").mounts] == ["bind", "file"]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("rtsp://nowhere/1", "neither in its environment nor in its command nor in a file"),
        ("/dev/video0", "a video device cannot be offered"),
        ("/media/film.mp4", "expected a file that ends with .mjpeg"),
        ("sensor", "expected env:NAME, a path, or an address"),
    ],
)
def test_a_lens_that_cannot_be_offered_is_told(home, label, told):
    del home["camera-ada"]["labels"]["ownframe.lens.serves"]
    home["camera-ada"]["labels"]["ownframe.lens"] = label
    assert any("camera-ada: ownframe.lens is" in m and told in m for m in home.understood().missing)


# What is refused.


def _is_told(system, *words):
    assert [r for r in (*system.refused, *system.missing) if all(w in r for w in words)], (
        system.refused,
        system.missing,
    )
    with pytest.raises(Misuse, match="cannot be put under test"):
        system.check()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network_mode": "host"}, "relay is on the host's own network"),
        ({"network_mode": "service:hub-ada"}, "relay shares the network of hub-ada"),
        ({"network_mode": "container:other"}, "relay shares the network of other"),
        ({"network_mode": "bridge"}, "relay is on the network 'bridge'"),
        ({"privileged": True}, "relay is privileged"),
        ({"pid": "host"}, "pid: host"),
        ({"ipc": "service:hub-ada"}, "ipc: service:hub-ada"),
        ({"cap_add": ["CAP_NET_ADMIN", "CHOWN"]}, "relay asks for NET_ADMIN (`cap_add`)"),
        ({"cap_add": ["all"]}, "relay asks for ALL"),
        ({"security_opt": ["seccomp:unconfined"]}, "takes the engine's protection off"),
        ({"sysctls": {"net.ipv4.ip_forward": 1}}, "wants to pass packets on"),
        ({"devices": [{"source": "/dev/net/tun"}]}, "uses devices of the host (`devices`)"),
        ({"gpus": [{"count": -1}]}, "(`gpus`)"),
        ({"userns_mode": "host"}, "shares a namespace of the host"),
        ({"volumes_from": ["hub-ada"]}, "shares the files of another container"),
        ({"external_links": ["db"]}, "linked to containers outside of the file"),
        ({"extra_hosts": ["me=host-gateway"]}, "relay reaches the host as 'me'"),
        ({"scale": 2}, "relay is to run 2 times"),
        ({"deploy": {"replicas": 0}}, "relay is to run 0 times"),
        ({"frobnicate": 1}, "has `frobnicate`, which ownframe does not know"),
        ({"volumes": [{"type": "bind", "source": "/var/run/docker.sock", "target": "/d"}]}, "given the socket"),
        ({"volumes": ["/run/containerd:/c"]}, "given /run/containerd of the host at /c"),
        ({"volumes": ["/:/host:ro"]}, "given / of the host"),
        ({"volumes": ["./gone:/gone"]}, "which is not there"),
        ({"volumes": ["kept:/k"]}, "which is external"),
        ({"volumes": ["nfs:/k"]}, "whose driver may reach a network"),
        ({"volumes": [{"type": "npipe", "source": "x", "target": "/x"}]}, "of the type 'npipe'"),
        ({"configs": [{"source": "outside"}]}, "gets the config outside, which is outside of the file"),
        ({"secrets": [{"source": "unset"}]}, "from the variable NOT_SET_ANYWHERE, which is not set"),
        ({"build": {"context": "https://host/repo.git"}}, "expected a folder of this machine"),
        ({"build": {"context": "./gone"}}, "which is no folder"),
        ({"build": {"context": ".", "dockerfile": "Gone"}}, "has no Gone"),
        ({"build": {"context": ".", "ssh": ["default"]}}, "`build.ssh`"),
        ({"build": None}, "has neither an image nor a build"),
        ({"networks": {"corp": None}}, "relay on the network corp, which is external"),
        ({"networks": {"lan": None}}, "of the driver macvlan, which leads out"),
        ({"networks": {"other": None}}, "they share no network in the file"),
        ({"labels": {"ownframe.role": "relay", "ownframe.dials": "cam:80"}}, "dials 'cam', which is no service"),
        ({"labels": {"ownframe.roel": "relay"}}, "'ownframe.roel'; did you mean 'role'?"),
    ],
    ids=str,
)  # fmt: skip
def test_every_way_around_the_links_is_a_sentence_before_anything_runs(home, change, told):
    home.content |= {
        "networks": {"default": None, "other": {}, "corp": {"external": True}, "lan": {"driver": "macvlan"}},
        "volumes": {"kept": {"external": True}, "nfs": {"driver_opts": {"type": "nfs"}}},
        "configs": {"outside": {"external": True}},
        "secrets": {"unset": {"environment": "NOT_SET_ANYWHERE"}},
    }
    if "network_mode" in change:
        del home["relay"]["networks"]
    home["relay"].update(change)
    _is_told(home.understood(), told)


def test_files_that_one_writes_and_another_sees_are_a_way_around_the_links(home):
    def share(one: bool, other: bool, second: str = "./shared/"):
        (home.folder / "shared").mkdir(exist_ok=True)
        for service, source, read_only in (("camera-ada", "./shared", one), ("hub-lin", second, other)):
            mounts = [m for m in home[service]["volumes"] if m["target"] != "/s"]
            home[service]["volumes"] = [
                *mounts,
                {"type": "bind", "source": source, "target": "/s", "read_only": read_only},
            ]
        return home.understood()

    assert share(one=True, other=True).refused == ()
    _is_told(share(one=False, other=True), "camera-ada and hub-lin share", "camera-ada may write")
    (home.folder / "shared" / "below").mkdir()
    _is_told(share(one=True, other=False, second="./shared/below"), "hub-lin may write")
    for service in ("camera-ada", "hub-lin"):
        home[service]["volumes"][-1] = {"type": "volume", "source": "data", "target": "/s"}
    _is_told(home.understood(), "camera-ada and hub-lin share data")


def test_a_socket_is_refused_by_what_it_is(home):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home.folder / "harmless.txt"))
        home["relay"]["volumes"] = [{"type": "bind", "source": "./harmless.txt", "target": "/h"}]
        _is_told(home.understood(), "relay is given the socket")


def test_what_is_only_otherwise_than_in_the_file_is_a_note(home):
    home["relay"].update(
        {
            "ports": [{"target": 80, "published": "8080"}],
            "logging": {"driver": "none"},
            "expose": ["80", "9/udp"],
        }
    )
    home["relay"]["networks"] = {"default": {"ipv4_address": "10.0.0.5"}}
    system = home.understood()
    system.check()
    for words in ("port 80/tcp is not published", "`logging` is not carried over", "fixed address 10.0.0.5", "UDP (9)"):
        assert any(n.startswith("relay: ") and words in n for n in system.notes), words


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda h: [s.pop("labels") for s in h.content["services"].values()], "none of its services (camera-ada, "),
        (lambda h: h["hub-lin"]["labels"].pop("ownframe.owner"), "hub-lin is a hub, and nobody's"),
        (lambda h: h["hub-lin"]["labels"].update({"ownframe.owner": "ada"}), "hub-ada and hub-lin are both ada.hub"),
        (lambda h: h["hub-lin"]["labels"].update({"ownframe.role": "other"}), "ownframe.display is a label for a hub"),
        (lambda h: h["hub-lin"]["labels"].pop("ownframe.display"), "where its screen is seen is not said"),
        (lambda h: h["camera-lin"]["labels"].pop("ownframe.lens"), "where it gets its picture is not said"),
        (lambda h: h.content["services"].pop("camera-lin"), "lin has a hub and no camera"),
        (lambda h: [h.content["services"].pop(s) for s in ("camera-lin", "hub-lin")], "it has 2 owners (ada, grace)"),
        (lambda h: h["relay"].pop("depends_on"), "no way of links leads from ada.hub to ada.camera (it leads to"),
        (lambda h: h["camera-lin"].pop("expose"), "relay depends on camera-lin, and no port of camera-lin is known"),
    ],
)  # fmt: skip
def test_what_is_missing_is_a_sentence(home, change, told):
    change(home)
    for service in home.content["services"].values():
        service["depends_on"] = {
            k: v for k, v in service.get("depends_on", {}).items() if k in home.content["services"]
        }
    _is_told(home.understood(), told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not what Compose prints"),
        ("[]", "has no services"),
        ('{"services": {}}', "has no services"),
        ("a: [", "is not what Compose prints"),
        ('{"services": {"a": {"image": "x", "ports": ["one"]}}}', "'one' is no port"),
        ('{"services": {"a": {"image": "x", "mem_limit": "much"}}}', "'much' is no size"),
    ],
)
def test_a_file_that_is_none_of_composes_is_a_sentence(tmp_path, text, told):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(Misuse, match=told.replace("'", ".")):
        understand(read([tmp_path / "bad.json"]))


def test_a_missing_file_a_pair_of_rendered_ones_and_no_compose_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(Misuse, match="there is no compose file"):
        read([tmp_path / "gone.yaml"])
    with pytest.raises(Misuse, match="a rendered file stands alone"):
        read([STOCK / "compose.json", STOCK / "wrong.json"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Surroundings, match=r"no Docker Compose here.*config --format json --no-path-resolution"):
        read([STOCK / "compose.yaml"])


def _program(folder: Path, text: str) -> None:
    (folder / "docker-compose").write_text(f"#!/bin/sh\n{text}")
    (folder / "docker-compose").chmod(0o755)


def test_what_compose_says_of_a_bad_file_and_of_unset_variables_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("chaos.compose.rendered._COMPOSES", (("docker-compose",),))
    version = '[ "$1" = version ] && { echo 2.40.3; exit; }\n'
    _program(tmp_path, version + "echo 'yaml: line 3: no' >&2; exit 15\n")
    with pytest.raises(Misuse, match=r"Compose does not take .*wrong.yaml: yaml: line 3: no"):
        read([STOCK / "compose.yaml", STOCK / "wrong.yaml"])
    warning = r'time="x" level=warning msg="The \"X\" variable is not set."'
    _program(tmp_path, version + f"echo '{warning}' >&2; cat {STOCK / 'compose.json'}\n")
    rendered = read([STOCK / "compose.yaml"])
    assert understand(rendered).notes[0] == 'The "X" variable is not set.'
    assert rendered.by == "as Compose 2.40.3 reads it"


# Labels.


def test_a_display_is_asked_by_looking_always_or_by_a_request():
    asked = labels("hub", {"ownframe.role": "hub", "ownframe.display": "http://:8081", "ownframe.ask": "always"})
    assert (asked.ask, asked.screen) == ("always", Screen("http", 8081, "/"))
    given = {
        "ownframe.role": "hub",
        "ownframe.display": "operator:99",
        "ownframe.ask": 'POST :8080/show {"camera": "{camera}"}',
        "ownframe.close": ":8080/home",
        "ownframe.sign-in": "PUT :8080/account owner={owner}",
        "ownframe.patience": "2s",
    }
    asked = labels("hub", given)
    assert asked.ask == Request("POST", 8080, "/show", '{"camera": "{camera}"}')
    assert (asked.close, asked.sign_in) == (
        Request("POST", 8080, "/home"),
        Request("PUT", 8080, "/account", "owner={owner}"),
    )
    assert (asked.screen, asked.patience) == (Screen("operator", 99, ""), 2.0)
    assert labels("other", {"com.example": "x"}) is None


@pytest.mark.parametrize(
    ("display", "expected"),
    [
        ("chromium::9222#page=/feed", Screen("watched", 9222, "chromium:{address}#page=/feed")),
        ("stream:rtsp://:8554/screen#late=0.2", Screen("watched", 8554, "stream:rtsp://{address}/screen#late=0.2")),
        ("stream:/dev/video0", Screen("watched", 0, "stream:/dev/video0")),
        ("folder:/var/screens/lin", Screen("watched", 0, "folder:/var/screens/lin")),
    ],
)
def test_a_display_is_whatever_the_harness_can_watch(display, expected):
    given = {"ownframe.role": "hub", "ownframe.display": display, "ownframe.ask": "always"}
    assert labels("hub", given).screen == expected


def test_a_display_that_is_seen_whoever_looks_is_not_asked_by_looking():
    with pytest.raises(Misuse, match=r"seen whoever looks; expected ownframe\.ask with always, or with a request"):
        labels("hub", {"ownframe.role": "hub", "ownframe.display": "folder:/x"})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"owner": "Ada Lovelace"}, "lower-case letters"),
        ({"role": "hab"}, "did you mean 'hub'"),
        ({"dials": "relay"}, "expected SERVICE:PORT"),
        ({"dials": "relay:99999"}, "expected SERVICE:PORT"),
        ({"dials": "relay:53/udp"}, "UDP does not pass Toxiproxy"),
        ({"role": "hub", "display": "rtsp://:1"}, "expected http://:PORT/PATH"),
        ({"role": "hub", "ask": "POST :1/x"}, "nothing closes the feed"),
        ({"role": "hub", "ask": "often"}, "a request to a port of its own"),
        ({"role": "hub", "patience": "long"}, "seconds between 0.1 and 60"),
        ({"role": "camera", "picture": "POST :1/x"}, "such as :8080/still.jpg"),
        ({"forget": "rm 'x"}, "no command"),
        ({"role": "relay", "lens": "env:X"}, "a label for a camera"),
    ],
)
def test_a_wrong_label_names_itself_its_service_and_what_is_right(given, told):
    with pytest.raises(Misuse, match=f"^thing.*{told}"):
        labels("thing", {f"ownframe.{k}": v for k, v in given.items()})


def test_every_label_is_described_and_read():
    for name in LABELS:
        with pytest.raises(Misuse, match=r"^x: ownframe"):
            labels("x", {"ownframe." + name: "\0 '", "ownframe.role": "cache"} | {"ownframe." + name: "\0 '"})


# Drawings.


def test_drawings_have_every_node_and_link_and_escape_what_a_file_names(home):
    home.content["services"]["<script>&"] = {"image": "x"}
    topology = home.understood().topology
    svg = as_svg(topology)
    assert "<script>" not in svg
    words = {t.text for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {"ada.hub", "relay", "lin.camera", "<script>&"} <= words
    for drawn in (as_text(topology), as_mermaid(topology)):
        assert all(k.name in drawn for k in topology.links)
    assert "grace.hub ────grace.hub─────> relay:80" in as_text(topology)


def test_a_home_without_links_is_drawn_too(home):
    for service in home.content["services"].values():
        service["labels"] = {}
        service.pop("depends_on", None)
    topology = home.understood().topology
    assert as_text(topology) == "(no link)"
    ET.fromstring(as_svg(topology))
    assert copy.copy(topology) == topology
