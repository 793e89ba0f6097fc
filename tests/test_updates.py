"""Updates, laid over a small made-up home."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from chaos import updates
from chaos.contracts.reference import Reference
from chaos.errors import CannotRunHere, Misuse
from chaos.topology import from_toml

RELAY = "print('the relay')\n"
LEAKY = "print('the relay, with a last good still')\n"


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def entry(path: str, replaces: str | None = None) -> str:
    hashed = "" if replaces is None else f"replaces = {json.dumps(replaces)}\n"
    return f'[[files]]\nnode = "relay"\npath = {json.dumps(path)}\n{hashed}'


def make_update(folder: Path, *entries: str, name: str = "last-still", more: str = "") -> Path:
    """Write an update that lays `LEAKY` over ``relay/app.py``."""
    write(folder / "relay" / "app.py", LEAKY)
    head = (
        f'schema = 1\nname = "{name}"\ntitle = "A last good still"\nstory = "Quality."\n'
        f'known_from = ["a study"]\nstacks = ["process"]\nguilty = "relay"\n{more}\n'
    )
    write(folder / "update.toml", head + "\n".join(entries or (entry("relay/app.py", sha256(RELAY)),)))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    write(home / "home.toml", "schema = 1\n")
    write(home / "relay" / "app.py", RELAY)
    write(home / "relay" / "__pycache__" / "app.pyc", "old")
    write(home / "hub" / "app.py", "print('the hub')\n")
    make_update(home / "updates" / "last-still")
    make_update(home / "updates" / "shared-key", name="shared-key")
    return home


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_without_an_update_the_home_is_copied_without_its_updates_and_leavings(home, tmp_path):
    into = updates.lay(home, None, tmp_path / "into")

    assert contents(into) == {"home.toml": "schema = 1\n", "relay/app.py": RELAY, "hub/app.py": "print('the hub')\n"}


def test_an_update_replaces_its_files_in_the_copy_and_nothing_in_the_home(home, tmp_path):
    before = contents(home)

    into = updates.lay(home, updates.find("last-still", home), tmp_path / "into")

    assert (into / "relay" / "app.py").read_text() == LEAKY
    assert (into / "hub" / "app.py").read_text() == "print('the hub')\n"
    assert not (into / "update.toml").exists()
    assert contents(home) == before


def test_an_update_may_add_a_file_where_there_was_none(home, tmp_path):
    folder = make_update(tmp_path / "mine", entry("relay/cache/new.py"))
    write(folder / "relay" / "cache" / "new.py", "new\n")

    into = updates.lay(home, updates.read(folder), tmp_path / "into")

    assert (into / "relay" / "cache" / "new.py").read_text() == "new\n"


def test_a_folder_outside_works_exactly_like_one_inside(home, tmp_path):
    outside = make_update(tmp_path / "elsewhere" / "mine")

    inside, found = updates.find("last-still", home), updates.find(str(outside), home)

    assert found.description == inside.description
    assert found.digest == inside.digest
    laid = [contents(updates.lay(home, u, tmp_path / f"into-{n}")) for n, u in enumerate((inside, found))]
    assert laid[0] == laid[1]


def test_a_folder_in_the_working_folder_needs_no_slash(home, tmp_path, monkeypatch):
    make_update(tmp_path / "mine", name="of-my-own")
    monkeypatch.chdir(tmp_path)

    assert updates.find("mine", home).name == "of-my-own"


def test_a_folder_may_be_reached_through_a_link(home, tmp_path):
    make_update(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")

    into = updates.lay(home, updates.find(str(tmp_path / "link"), home), tmp_path / "into")

    assert (into / "relay" / "app.py").read_text() == LEAKY


def test_an_update_whose_base_file_changed_is_refused_with_both_hashes(home, tmp_path):
    (home / "relay" / "app.py").write_text(RELAY + "# repaired\n")

    with pytest.raises(Misuse) as refused:
        updates.lay(home, updates.find("last-still", home), tmp_path / "into")

    told = str(refused.value)
    assert sha256(RELAY) in told
    assert sha256(RELAY + "# repaired\n") in told
    assert "relay/app.py" in told
    assert (tmp_path / "into" / "relay" / "app.py").read_text() != LEAKY


@pytest.mark.parametrize(
    ("path", "replaces", "told"),
    [
        ("relay/gone.py", sha256(RELAY), f"expects {sha256(RELAY)}, the home system has no file"),
        ("relay/app.py", None, f"expects no file, the home system has {sha256(RELAY)}"),
    ],
)
def test_an_update_that_expects_a_file_where_there_is_none_or_none_where_there_is_one_is_refused(
    home, tmp_path, path, replaces, told
):
    folder = make_update(tmp_path / "mine", entry(path, replaces))
    write(folder / path, LEAKY)

    with pytest.raises(Misuse) as refused:
        updates.lay(home, updates.read(folder), tmp_path / "into")

    assert told in str(refused.value)


@pytest.mark.parametrize("path", ["../outside.py", "relay/../../outside.py", "{tmp_path}/outside.py"])
def test_a_path_that_leaves_the_folder_is_refused_and_nothing_is_written(home, tmp_path, path):
    victim = write(tmp_path / "outside.py", RELAY)
    folder = make_update(tmp_path / "mine", entry(path.format(tmp_path=tmp_path), sha256(RELAY)))

    with pytest.raises(Misuse, match="leaves the folder"):
        updates.lay(home, updates.read(folder), tmp_path / "into")

    assert victim.read_text() == RELAY


def test_a_link_in_the_update_that_leads_out_of_it_is_refused(home, tmp_path):
    secret = write(tmp_path / "secret", "secret\n")
    folder = make_update(tmp_path / "mine", entry("relay/app.py", sha256(RELAY)))
    (folder / "relay" / "app.py").unlink()
    (folder / "relay" / "app.py").symlink_to(secret)

    with pytest.raises(Misuse, match="leaves the folder"):
        updates.lay(home, updates.read(folder), tmp_path / "into")


def test_a_linked_folder_in_the_update_that_leads_out_of_it_is_refused(home, tmp_path):
    write(tmp_path / "elsewhere" / "app.py", "secret\n")
    folder = make_update(tmp_path / "mine", entry("hub2/app.py"))
    (folder / "hub2").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Misuse, match="leaves the folder"):
        updates.lay(home, updates.read(folder), tmp_path / "into")


def test_a_link_in_the_home_does_not_let_an_update_write_through_it(home, tmp_path):
    shared = write(tmp_path / "shared" / "app.py", RELAY)
    (home / "relay" / "app.py").unlink()
    (home / "relay" / "app.py").symlink_to(shared)

    into = updates.lay(home, updates.find("last-still", home), tmp_path / "into")

    assert (into / "relay" / "app.py").read_text() == LEAKY
    assert shared.read_text() == RELAY


@pytest.mark.parametrize("path", ["relay/missing.py", ".", "relay"])
def test_a_file_that_the_update_names_and_lacks_is_told(home, tmp_path, path):
    folder = make_update(tmp_path / "mine", entry(path))

    with pytest.raises(Misuse, match=r"update.toml names .*, which is not in"):
        updates.lay(home, updates.read(folder), tmp_path / "into")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("last-stil", "there is no update 'last-stil'; did you mean 'last-still'?"),
        ("xyz", "there is no update 'xyz'; known: last-still, shared-key"),
        ("./xyz", "is no update: it has no update.toml"),
        ("home.toml/x", "is no update: it has no update.toml"),
    ],
)
def test_an_unknown_update_is_told_with_the_nearest_right_one(home, monkeypatch, name, told):
    monkeypatch.chdir(home)

    with pytest.raises(Misuse) as refused:
        updates.find(name, home)

    assert told in str(refused.value)


def test_known_updates_are_those_of_the_home_by_name(home):
    assert list(updates.known(home)) == ["last-still", "shared-key"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema = ", "update.toml: "),
        ("schema = 1\n", "missing required field `name`"),
        ("schema = 2\n", "schema"),
        ("\x00", "update.toml: "),
    ],
)
def test_a_broken_description_is_told_with_its_place(tmp_path, text, told):
    write(tmp_path / "mine" / "update.toml", text)

    with pytest.raises(Misuse) as refused:
        updates.read(tmp_path / "mine")

    assert str(tmp_path / "mine" / "update.toml") in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('colour = "red"', "unknown field `colour`"),
        ("python = 3", "Expected `str`"),
        ('stack = "process"', "unknown field `stack`"),
    ],
)
def test_a_description_with_another_field_is_refused(tmp_path, more, told):
    folder = make_update(tmp_path / "mine", more=more)

    with pytest.raises(Misuse, match=told):
        updates.read(folder)


def test_a_description_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "update.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(Misuse, match=r"update\.toml"):
        updates.read(tmp_path)


def test_a_description_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "update.toml").mkdir()

    with pytest.raises(Misuse, match="cannot be read"):
        updates.read(tmp_path)


def test_the_digest_of_an_update_changes_with_everything_in_its_folder(tmp_path):
    folder = make_update(tmp_path / "mine")
    digests = {updates.read(folder).digest}
    write(folder / "notes.txt", "more")
    digests.add(updates.read(folder).digest)
    (folder / "notes.txt").rename(folder / "other.txt")
    digests.add(updates.read(folder).digest)
    write(folder / "relay" / "app.py", RELAY)
    digests.add(updates.read(folder).digest)
    write(folder / "__pycache__" / "x.pyc", "compiled")
    digests.add(updates.read(folder).digest)

    assert len(digests) == 4


def test_every_update_that_comes_with_the_reference_home_fits_it(tmp_path):
    home = updates.home_folder()

    for name, update in updates.known(home).items():
        updates.lay(home, update, tmp_path / name)
        assert update.folder.name == name


def test_pins_lie_in_the_nodes_folder_for_the_stack_to_install(home, tmp_path):
    write(home / "relay" / "requirements.txt", "redis==8.1.0\n")
    pin = '[[pins]]\nnode = "relay"\nrequirement = "redis==4.5.3"\n'
    folder = make_update(tmp_path / "mine", entry("relay/app.py", sha256(RELAY)), pin)

    into = updates.lay(home, updates.read(folder), tmp_path / "into")

    assert (into / "relay" / "pins.txt").read_text() == "redis==4.5.3\n"
    assert not (home / "relay" / "pins.txt").exists()


def test_a_pin_of_a_node_without_requirements_is_misuse_that_names_the_nearest(home, tmp_path):
    write(home / "relay" / "requirements.txt", "redis==8.1.0\n")
    pin = '[[pins]]\nnode = "relais"\nrequirement = "redis==4.5.3"\n'
    folder = make_update(tmp_path / "mine", entry("relay/app.py", sha256(RELAY)), pin)

    with pytest.raises(Misuse, match="'relais', which has none; did you mean 'relay'"):
        updates.lay(home, updates.read(folder), tmp_path / "into")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('python = "three"\n', "python: .*expected something like '>=3.11,<3.14'"),
        (
            '[[pins]]\nnode = "relay"\nrequirement = "redis 4.5.3"\n',
            "pins: .*a requirement like 'redis==4.5.3'",
        ),
        ('[[pins]]\nnode = "relay"\nrequirement = "redis==4.5.3"\necosystem = "npm"\n', "ecosystem|npm"),
        ('[[nodes]]\nname = "edge"\n', "missing required field"),
    ],
)
def test_a_pin_or_node_that_makes_no_sense_is_misuse(tmp_path, more, message):
    folder = make_update(tmp_path / "mine", more=more)

    with pytest.raises(Misuse, match=message):
        updates.read(folder)


def test_an_update_for_another_stack_cannot_run_here(home):
    with pytest.raises(CannotRunHere, match="last-still cannot run here: it needs the stack process, not docker"):
        updates.check_runs_here(updates.find("last-still", home), "docker")


def test_an_update_for_another_python_cannot_run_here_unless_a_container_has_it(tmp_path):
    folder = make_update(tmp_path / "mine", more='python = "<3"\n')
    text = (folder / "update.toml").read_text().replace('["process"]', '["process", "docker"]')
    (folder / "update.toml").write_text(text)
    update = updates.read(folder)

    with pytest.raises(CannotRunHere, match="it needs Python <3"):
        updates.check_runs_here(update, "process")
    updates.check_runs_here(update, "docker")


def test_an_update_of_what_is_not_chosen_cannot_run_here():
    update = updates.find("rtsp-over-udp")
    for choices in (None, {}, {"camera": "motion"}):
        with pytest.raises(CannotRunHere, match="rtsp-over-udp cannot run here: it needs --camera mediamtx, and the"):
            updates.check_runs_here(update, "docker", choices)
    updates.check_runs_here(update, "docker", {"camera": "mediamtx", "display": "chromium"})


def test_without_nodes_of_its_own_an_update_leaves_the_topology(home):
    topology = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), ("ada", "grace", "lin"))
    assert updates.applied(None, topology) == topology
    assert updates.applied(updates.find("last-still", home), topology) == topology


def test_the_edge_cache_stands_between_every_hub_and_the_relay():
    topology = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), ("ada", "grace", "lin"))

    changed = updates.applied(updates.find("edge-cache"), topology)

    ends = {k.name: (k.client, k.server) for k in changed.links}
    assert ends["ada.hub"] == ("ada.hub", "edge")
    assert ends["edge.relay"] == ("edge", "relay")
    assert ends["relay.cache"] == ("relay", "cache")
    assert changed.node("edge").forget
    way = [k.name for k in changed.between("ada", "lin")]
    assert sorted(way) == ["ada.hub", "edge.relay", "lin.camera", "relay.accounts", "relay.cache"]
    assert (way[0], way[-1]) == ("ada.hub", "lin.camera")


def test_what_was_before_an_update_has_the_nodes_that_it_added(tmp_path):
    """They are rolled back with everything else where an update changes nothing but adds a node."""
    home = Reference(("ada", "grace", "lin"), updates.find("access-gateway"))
    before, now = (home.sources(tmp_path, updated=u) for u in (False, True))
    assert {p.name for p in before.iterdir()} == {p.name for p in now.iterdir()}
    assert (before / "gateway" / "app.py").read_bytes() == (now / "gateway" / "app.py").read_bytes()


def test_what_was_before_an_update_has_the_files_that_it_changed_as_they_were(tmp_path):
    home = Reference(("ada", "grace", "lin"), updates.find("shared-fetch"))
    before = home.sources(tmp_path, updated=False)
    assert (before / "relay" / "stills.py").read_bytes() == (updates.home_folder() / "relay" / "stills.py").read_bytes()
