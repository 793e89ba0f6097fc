"""Which Toxiproxy a container can run that has nothing else."""

from __future__ import annotations

import struct

import pytest

from chaos import server

LOAD, INTERPRETER, DYNAMIC = 1, 3, 2


def _elf(*kinds: int, order: str = "<") -> bytes:
    """Return a 64-bit ELF file's head with program headers of these kinds."""
    ident = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + bytes(10)
    head = struct.pack(f"{order}HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(kinds), 0, 0, 0)
    return ident + head + b"".join(struct.pack(f"{order}I", kind) + bytes(52) for kind in kinds)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_server_that_asks_for_an_interpreter_is_dynamic_and_one_that_does_not_is_static(tmp_path, order):
    path = tmp_path / "server"
    path.write_bytes(_elf(LOAD, INTERPRETER, LOAD, order=order))
    assert server._is_dynamic(path)
    path.write_bytes(_elf(LOAD, LOAD, DYNAMIC, order=order))
    assert not server._is_dynamic(path)


def test_what_is_no_program_is_not_taken_for_a_static_one(tmp_path):
    path = tmp_path / "server"
    path.write_text("#!/bin/sh\nexec toxiproxy-server\n")
    assert server._is_dynamic(path)


def test_a_dynamic_server_is_passed_over_for_one_that_was_built(tmp_path, monkeypatch):
    dynamic, kept = tmp_path / "dynamic", tmp_path / "kept"
    dynamic.write_bytes(_elf(INTERPRETER))
    said = []
    monkeypatch.setattr(server, "find", lambda _: server.Found(dynamic, "2.12.0", "found on PATH"))
    monkeypatch.setattr(server, "_intact", lambda _: False)
    monkeypatch.setattr(server, "_build_once", lambda _: kept)
    assert server.static_server(said.append) == kept
    assert str(dynamic) in said[0]
    dynamic.write_bytes(_elf(LOAD))
    assert server.static_server(said.append) == dynamic
