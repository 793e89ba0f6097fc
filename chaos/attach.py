"""``ownframe attach``: what is understood of somebody's compose file, what is missing, and what it looks like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from chaos.compose import System, read, understand
from chaos.compose.drawing import DRAWINGS, as_text
from chaos.compose.labels import Labels, Request
from chaos.errors import Misuse, Surroundings
from chaos.verdict import Outcome


def check(files: Sequence[Path], drawings: Sequence[Path]) -> Outcome:
    """Say what was understood, draw it, and say what is missing; nothing is started.

    An engine is asked only whether it has the images. `UNUSABLE` when anything is refused or missing.
    """
    for file in drawings:
        if file.suffix not in DRAWINGS:
            raise Misuse(f"{file} is no drawing; expected a name that ends with {', '.join(DRAWINGS)}")
    system = understand(read(files))
    wanting = [*system.missing, *_absent_images(system)]
    click.echo("\n".join(_told(system)))
    for title, lines in (("not as in the file", system.notes), ("refused", system.refused), ("missing", wanting)):
        if lines:
            click.echo(f"\n{title}:")
            for line in lines:
                click.echo(f"  - {line}")
    for file in drawings:
        try:
            file.write_text(DRAWINGS[file.suffix](system.topology))
        except OSError as failed:
            raise Misuse(f"{file} cannot be written: {failed.strerror or failed}") from None
        click.echo(f"\ndrawn: {file}")
    count = len(system.refused) + len(wanting)
    click.echo("\nit can be put under test" if not count else f"\nit cannot be put under test: {count} things to do")
    return Outcome.UNUSABLE if count else Outcome.PASSED


def _told(system: System) -> Iterator[str]:
    yield f"{system.name}: {len(system.services)} services, {system.by}"
    wide = max((len(s) for s in system.services.values()), default=0)
    for node in system.topology.nodes:
        said = system.labels.get(node.name, Labels())
        whose = f" of {said.owner}" if said.owner else ""
        words = [f"{said.role}{whose}", *_handled(said)]
        yield f"  {system.services[node.name]:<{wide}}  {'; '.join(words)}"
    yield "\nlinks, each through Toxiproxy:"
    yield "\n".join(f"  {line}" for line in as_text(system.topology).splitlines())
    for how in sorted({h.known_from for h in system.hops}):
        yield f"  from {how}: {', '.join(h.link.name for h in system.hops if h.known_from == how)}"


def _handled(said: Labels) -> Iterator[str]:
    if said.lens:
        yield f"films {said.lens}" + (f" as {said.serves}" if said.serves else "")
    if said.picture:
        yield f"its picture is at :{said.picture.port}{said.picture.path}"
    if said.screen is not None:
        where = f":{said.screen.port}{said.screen.path}"
        yield f"its screen is {'the operator contract on ' if said.screen.kind == 'operator' else ''}{where}"
    if said.role == "hub" and (said.screen is None or said.screen.kind == "http"):
        if isinstance(said.ask, Request):
            yield f"asked with {said.ask.method} :{said.ask.port}{said.ask.path}"
        else:
            yield {"look": "asked by looking at its screen", "always": "shows its owner's camera all the time"}[
                said.ask
            ]
        yield "its account can be changed" if said.sign_in else "its account cannot be changed"
    if said.forget:
        yield f"forgets by {' '.join(said.forget)}"


def _absent_images(system: System) -> Iterator[str]:
    """Yield a sentence for each image that is neither built nor there; without an engine nothing can be said."""
    named = {
        n.container.image: n.container.service
        for n in system.topology.nodes
        if n.container is not None and n.container.build is None and n.container.image
    }
    if not named:
        return
    from chaos.stacks import docker_engine  # noqa: PLC0415 - who has no engine needs no SDK

    try:
        absent = docker_engine.absent_images(tuple(named))
    except Surroundings as no_engine:
        click.echo(f"(whether the images are there was not looked at: {no_engine})\n")
        return
    for image in absent:
        yield f"{named[image]} wants the image {image}, which this engine has not; `docker pull {image}`, or build it"
