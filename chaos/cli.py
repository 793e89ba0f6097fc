"""The shell door: every ``ownframe`` command, its options, and its exit code."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaos import current
from chaos.errors import OwnframeError, Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNUSABLE = 3
"""Exit code of 'could not run or used wrongly'; 0 passed, 1 leak, 2 inconclusive."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("ownframe"))
def cli() -> None:
    """Network-fault chaos testing for smart-home video.

    Exit codes: 0 passed, 1 leak, 2 inconclusive, 3 could not run or used wrongly.
    """


@cli.command()
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ownframe-evidence"),
    show_default=True,
    help="Folder under which the demo leaves its evidence.",
)
@click.option("--cases", type=click.IntRange(1), default=25, show_default=True, help="Cases each scenario may take.")
@click.option("--seed", type=int, default=None, help="Make what is drawn reproducible.")
def demo(evidence: Path, cases: int, seed: int | None) -> int:
    """Find the December-26 leak on real parts, then show that all scenarios pass without the update."""
    from chaos import demo as story  # noqa: PLC0415 - `ownframe --help` imports nothing heavy

    return int(story.tell(evidence, cases=cases, seed=seed))


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--blur", is_flag=True, help="Blur every picture, so that nobody can be recognised in them.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The page; index.html in FOLDER if left out."
)
def report(folder: Path, blur: bool, out: Path | None) -> int:
    """Write the page of a stored run again: FOLDER is the evidence that it left. Of a gate or a demo, of all its runs.

    The page is one file with its pictures; it can be sent to somebody as it is.
    """
    from chaos import report as pages  # noqa: PLC0415 - lazy

    return pages.tell(folder, out, blurred=blur, say=click.echo)


_compose_files = click.option(
    "--compose",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Your own home system, as containers; again: laid over the first.",
)


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--stack", default="process", show_default=True, help="Where the home system's nodes run.")
@click.option("--update", metavar="NAME_OR_FOLDER", help="An update to lay over the home system.")
@_compose_files
@click.option("--budget", default="120s", show_default=True, help="How long, or how many cases: 120s, 5m, 300cases.")
@click.option(
    "--workers", type=click.IntRange(1, 32), default=None, help="Home systems side by side; as many as the cores bear."
)
@click.option("--engine", default="local", show_default=True, help="local, dask (a cluster here) or dask://host:port.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Draw what a gate of this seed drew.")
@click.option("--timeout", metavar="TIME", help="End after so long whatever happens; the result is written.")
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ownframe-evidence"),
    show_default=True,
    help="Folder under which the gate leaves its evidence.",
)
@click.option("--display", metavar="NAME", default=None, help="What the hubs' screens are: headless or chromium.")
@click.option("--camera", metavar="NAME", default=None, help="What the cameras are; see `ownframe list`.")
@click.option(
    "--confirm-on", metavar="DISPLAY", default=None, help="Execute each finding on this display too, such as chromium."
)
@click.option(
    "--evidence-limit", metavar="SIZE", default="1GB", show_default=True, help="Room for a worker's pictures."
)
@click.option(
    "--accepted",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file of findings that somebody answers for until a date; they fail no gate.",
)
@click.option("--json", "json_", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML to this file.")
def gate(
    paths: tuple[Path, ...],
    stack: str,
    update: str | None,
    compose: tuple[Path, ...],
    budget: str,
    workers: int | None,
    engine: str,
    seed: int | None,
    timeout: str | None,
    evidence: Path,
    evidence_limit: str,
    display: str | None,
    camera: str | None,
    confirm_on: str | None,
    accepted: Path | None,
    json_: Path | None,
    junit: Path | None,
) -> int:
    """Say whether a release may go out: run scenarios within a budget, with controls before and after.

    PATHS are scenario files, or folders of them, as pytest takes them; without any, the scenarios that come with
    ownframe. Exit codes: 0 passed, 1 leak, 2 inconclusive, 3 could not run.
    """
    from chaos.evidence import size  # noqa: PLC0415 - lazy
    from chaos.gate import door, options  # noqa: PLC0415 - lazy

    return door.hold(
        options.Options(
            paths=paths,
            stack=stack,
            update=update,
            compose=compose,
            budget=options.budget(budget),
            workers=workers or options.default_workers(),
            more=0 if workers else options.more_workers(),
            engine=engine,
            seed=seed,
            timeout=None if timeout is None else options.seconds(timeout),
            evidence=evidence,
            evidence_limit=size(evidence_limit),
            display=display,
            camera=camera,
            confirm_on=confirm_on,
            accepted=accepted,
            json=json_,
            junit=junit,
        )
    )


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--times", type=click.IntRange(1), default=None, help="Executions; as many as its rate needs if not given."
)
@click.option("--stack", default=None, help="Where the home system's nodes run; as in FILE if not given.")
@click.option("--update", metavar="NAME_OR_FOLDER", default=None, help="An update; that of FILE if not given.")
@click.option("--no-update", "without_update", is_flag=True, help="The home system as it is.")
@_compose_files
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ownframe-evidence"),
    show_default=True,
    help="Folder under which the replay leaves its evidence.",
)
@click.option("--both-ways", is_flag=True, help="By the vendor's own app too, and say where the fault is.")
def replay(
    file: Path,
    times: int | None,
    stack: str | None,
    update: str | None,
    without_update: bool,
    compose: tuple[Path, ...],
    evidence: Path,
    both_ways: bool,
) -> int:
    """Execute the plan of FILE, which a run left in findings/N/replay.json, exactly, and say how often it leaks.

    Exit codes: 0 not reproduced, 1 reproduced, 2 inconclusive, 3 could not.
    """
    from chaos import replay as door  # noqa: PLC0415 - lazy

    if update is not None and without_update:
        raise click.UsageError("--update and --no-update exclude each other; choose one")
    asked = {"times": times, "stack": stack, "update": update, "without_update": without_update, "compose": compose}
    done = door.tell(file, **asked, evidence=evidence, say=click.echo, both_ways=both_ways)  # type: ignore[arg-type]
    return int(done)


@cli.command()
@click.option("--homes", type=int, default=1044, show_default=True, help="How many; 1,044 had the integration.")
@click.option(
    "--poor",
    metavar="NAME=SHARE",
    multiple=True,
    help="Conditions, and the share of all homes whose camera is behind them; again for more. "
    "EDGE=0.003 and OUTAGE=0.002 if not given.",
)
@click.option("--rounds", type=int, default=2, show_default=True, help="Times that everybody asks.")
@click.option("--seed", type=int, default=0, show_default=True, help="Who has poor conditions, and who asks when.")
@click.option("--update", metavar="NAME_OR_FOLDER", default=None, help="An update to lay over the home system.")
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ownframe-evidence"),
    show_default=True,
    help="Folder under which it leaves its evidence.",
)
def population(homes: int, poor: tuple[str, ...], rounds: int, seed: int, update: str | None, evidence: Path) -> int:
    """Run many homes around one relay, a few of them on poor links, and say who saw whom.

    Exit codes: 0 passed, 1 leak, 2 inconclusive, 3 could not.
    """
    from chaos import population as many  # noqa: PLC0415 - lazy

    shares = {"poor": tuple(many.share(text) for text in poor)} if poor else {}
    options = many.Options(homes=homes, rounds=rounds, seed=seed, update=update, evidence=evidence, **shares)
    return int(many.tell(options, click.echo))


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--packets",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Another capture of the same case than the one in FOLDER, such as a part that was cut out.",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File with the run's key; those of recent runs are had.",
)
def where(folder: Path, packets: Path | None, key_file: Path | None) -> int:
    """Say again in which node the picture of a finding turned foreign: FOLDER is findings/N of a run.

    Exit codes: 0 a node is named, 2 none can be, 3 something is missing or damaged.
    """
    from chaos import where as door  # noqa: PLC0415 - lazy

    return door.tell(folder, packets, key_file, click.echo)


@cli.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder to write it into; the current one if not given.",
)
def new(name: str, into: Path) -> int:
    """Write a scenario NAME that runs as it is, into a file of its own; nothing that is there is overwritten."""
    from chaos import authoring  # noqa: PLC0415 - lazy

    file = authoring.write(name, into)
    click.echo(f"wrote {file}")
    click.echo(f"run it:  pytest {file}   or:  ownframe gate {file} --budget 60s")
    click.echo(f"break it: pytest {file} --update december-26")
    return 0


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, required=True, help="Only say what is understood; nothing is started.")
@click.option(
    "--draw",
    "drawings",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the topology into this file too: .svg, .mmd (Mermaid) or .txt.",
)
def attach(files: tuple[Path, ...], check: bool, drawings: tuple[Path, ...]) -> int:  # noqa: ARG001 - always given
    """Say what is understood of compose FILES (later ones laid over earlier ones), what is missing, and draw it.

    Exit code 0 if they can be put under test, 3 if not.
    """
    from chaos import attach as attaching  # noqa: PLC0415 - lazy

    return int(attaching.check(files, drawings))


@cli.command("list")
@click.argument("what", required=False)
def list_(what: str | None) -> int:
    """Show scenarios, conditions with their numbers, toxics, updates, links and nodes; or only WHAT of these."""
    from chaos import listing  # noqa: PLC0415 - lazy

    listing.tell(what)
    return 0


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
def doctor(as_json: bool) -> int:
    """Say what this machine has, what each stack needs, and what to do about what is missing."""
    from chaos import doctor as examination  # noqa: PLC0415 - lazy

    return int(examination.tell(as_json=as_json))


@cli.command()
def clean() -> int:
    """Remove what runs of this user left that were killed: processes, folders, containers and networks.

    Only what belongs to a run whose process is certainly gone is touched, and never a neighbour's.
    """
    from chaos import children  # noqa: PLC0415 - lazy

    cleared = children.clear_leftovers()
    try:
        from chaos.stacks import docker_engine  # noqa: PLC0415 - lazy

        cleared += docker_engine.clear_leftovers(docker_engine.connect())
    except Surroundings as no_engine:
        click.echo(f"containers were not looked for: {no_engine}")
    for line in cleared or ["nothing was left behind"]:
        click.echo(line)
    return 0


_key_file = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File with the key, then those of earlier runs, a line each; else the variable OWNFRAME_KEYS is read.",
)


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def key(file: Path) -> int:
    """Make a fresh badge key in FILE, which only you can read; what is printed is its id, never the key."""
    from chaos import keys  # noqa: PLC0415 - lazy

    made = keys.create(file)
    click.echo(f"key {made.id} is in {file}")
    return 0


@cli.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@_key_file
@click.option("--owner", type=click.IntRange(1, 65_535), required=True, help="Number of the owner.")
@click.option("--camera", type=click.IntRange(1, 255), default=1, show_default=True, help="Number of the camera.")
@click.option("--case", type=click.IntRange(0, (1 << 24) - 1), default=0, show_default=True, help="Number of the case.")
def stamp(sources: tuple[Path, ...], target: Path, key_file: Path | None, owner: int, camera: int, case: int) -> int:
    """Stamp pictures or videos with an owner's badge, into the file or folder TARGET.

    Pictures are numbered in order, frames of a video from its place on; its sound is kept. Exit code 3 if anything
    could not be stamped; the rest is.
    """
    import os  # noqa: PLC0415 - lazy

    from chaos import keys, stampfiles  # noqa: PLC0415 - lazy
    from chaos.judging import files  # noqa: PLC0415 - lazy

    stamper = stampfiles.Stamper(keys.load(key_file)[0], case, owner, camera)
    found = [Path(f) for f in files(sources)]
    with _progress("stamping", len(found)) as done:
        lacks: list[str] = []
        wrong = stampfiles.stamp_files(stamper, found, target, done, lacks.append, os.cpu_count() or 1)
    for sentence in lacks + wrong:
        click.echo(f"ownframe: {sentence}", err=True)
    click.echo(f"stamped {len(found) - len(wrong)} of {len(found)} into {target}", err=True)
    return UNUSABLE if wrong else 0


@cli.command("test-card")
@_key_file
@click.option("--owner", type=click.IntRange(1, 65_535), required=True, help="Number of the owner.")
@click.option("--camera", type=click.IntRange(1, 255), default=1, show_default=True, help="Number of the camera.")
@click.option("--case", type=click.IntRange(0, (1 << 24) - 1), default=0, show_default=True, help="Number of the case.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine to serve at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port to serve at; any free one if not given.")
def test_card(key_file: Path | None, owner: int, camera: int, case: int, host: str, port: int) -> int:
    """Serve a page with an owner's live badge, full screen, for a physical camera to film.

    The marks beside the badge let `ownframe judge --find` read what the camera saw at an angle. Ends with Ctrl-C.
    """
    from chaos import keys, testcard  # noqa: PLC0415 - lazy

    card = testcard.TestCard(keys.load(key_file)[0], case, owner, camera)
    testcard.serve(card, host, port, lambda url: click.echo(f"the test card of owner {owner} is at {url}"))
    return 0


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_key_file
@click.option("--owner", default=None, help="Whose frames these must be, by number or name; all others are foreign.")
@click.option("--camera", type=click.IntRange(1, 255), default=None, help="Which of the owner's cameras, by number.")
@click.option("--case", "cases", type=click.IntRange(0, (1 << 24) - 1), multiple=True, help="Match slivers of it too.")
@click.option("--owners", type=click.Path(dir_okay=False, path_type=Path), help="File of owners' names, a line each.")
@click.option("--cameras", type=click.IntRange(1, 255), default=1, show_default=True, help="Cameras an owner has.")
@click.option("--box", default=None, metavar="X,Y,W,H", help="Where the picture sits in each frame, in pixels.")
@click.option("--find", is_flag=True, help="Find a filmed test card, or a picture on a screenshot.")
@click.option("--jobs", type=click.IntRange(1, 256), default=None, help="Processes; one a core if not given.")
def judge(
    paths: tuple[Path, ...],
    key_file: Path | None,
    owner: str | None,
    camera: int | None,
    cases: tuple[int, ...],
    owners: Path | None,
    cameras: int,
    box: str | None,
    find: bool,
    jobs: int | None,
) -> int:
    """Say whose picture each frame of files and folders is, as one line of JSON a frame.

    An evidence folder of a run, a gate or a demo is judged again instead, from its recorded readings, and from its
    pixels where its key is had; what is missing or differs is said.

    Exit codes: 0 all named (or own, or blank), 1 a foreign or misdirected frame, 2 some unreadable or nothing there.
    """
    import os  # noqa: PLC0415 - lazy

    from chaos import judging, keys, rejudging  # noqa: PLC0415 - lazy

    if all(rejudging.is_evidence(path) for path in paths):
        had = keys.load(key_file) if key_file is not None else keys.recent()
        return rejudging.tell(paths, had, jobs or os.cpu_count() or 1, click.echo)
    task = judging.task(keys.load(key_file), owners, owner, camera, box, cases, cameras, find=find)
    found = judging.files(paths)
    out = sys.stdout.buffer
    with _progress("judging", len(found)) as done:
        counts = judging.judge(task, found, jobs or os.cpu_count() or 1, out.write, done)
    out.flush()
    click.echo(judging.summary(counts, task), err=True)
    return judging.exit_code(counts)


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], object]]:
    """Show a bar on a terminal's stderr, and yield what moves it by one."""
    from rich.console import Console  # noqa: PLC0415 - lazy
    from rich.progress import BarColumn as Bar  # noqa: PLC0415 - lazy
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - lazy

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        Bar(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda: progress.advance(bar)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the outcome's code."""
    began = time.monotonic()
    try:
        with current.stoppable():
            code = cli.main(arguments, prog_name="ownframe", standalone_mode=False)
    except click.exceptions.Exit as asked:
        code = asked.exit_code
    except click.ClickException as wrong:
        wrong.show()
        code = UNUSABLE
    except OwnframeError as told:
        click.echo(f"ownframe: {told}", err=True)
        code = UNUSABLE
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"ownframe: stopped after {time.monotonic() - began:.0f} s; nothing of it runs any more", err=True)
        code = 2
    except Exception:  # noqa: BLE001 - Python's own code for a crash is 1, and 1 says that somebody saw a stranger
        traceback.print_exc()
        click.echo("ownframe: the above is a bug in ownframe and no verdict; please report it", err=True)
        code = UNUSABLE
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
