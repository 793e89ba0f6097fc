"""The pytest door: options, the run of a session, a plain `home` fixture, and how a verdict is shown.

Nothing heavy is imported before a scenario or the `home` fixture is used.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos import current
from chaos.errors import OwnframeError

if TYPE_CHECKING:
    from chaos.case import Case
    from chaos.run import CaseResult, Run
    from chaos.verdict import Verdict

_STATE = pytest.StashKey["_Session"]()
_PROPERTY = "ownframe"
"""Name of the JUnit property that says what a test came to when it is no pass."""
_REPLAY = ".ownframe.json"
"""How the name of a replay file ends that is collected; those that runs leave are called ``replay.json``."""
_PICTURE = "ownframe.picture"
"""Name of the JUnit property with the path of the picture that was somebody else's."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a run."""
    group = parser.getgroup("ownframe", "network-fault chaos scenarios")
    group.addoption("--stack", default="process", help="where the home system's nodes run (default: process)")
    group.addoption("--update", metavar="NAME_OR_FOLDER", help="an update to lay over the home system")
    group.addoption("--display", default="headless", help="what the hubs' screens are (default: headless; chromium)")
    group.addoption("--camera", default="reference", help="what the cameras are (default: reference)")
    group.addoption("--path", default="integration", help="by which way screens get to cameras (integration; app)")
    group.addoption("--both-ways", action="store_true", help="execute what is found by the vendor's own app too")
    group.addoption(
        "--confirm-on", metavar="DISPLAY", help="execute each finding on this display too, such as chromium"
    )
    group.addoption(
        "--compose",
        metavar="FILE",
        action="append",
        default=[],
        help="your own home system; again: laid over the first",
    )
    group.addoption("--evidence", metavar="FOLDER", default="ownframe-evidence", help="where runs leave their evidence")
    group.addoption("--evidence-limit", metavar="SIZE", help="room for a run's pictures, such as 500MB (default: 1GB)")
    group.addoption(
        "--hypothesis-database", metavar="FOLDER|redis://…", help="where Hypothesis keeps what it drew for a leak"
    )
    group.addoption("--replay-times", metavar="N", type=int, help="executions of a replay file (default: its own)")
    group.addoption("--cases", metavar="N", type=_positive, help="plans that each scenario draws (default: its own)")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cases; expected 1 or more")
    return int(text)


class _Session:
    """The run of one pytest session, made when it is first used."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run: Run | None = None
        self.outcomes: set[str] = set()
        self._cases = self._asks = self._frames = 0
        self._worst: Verdict | None = None

    def run(self) -> Run:
        if self._run is None:
            from chaos import evidence  # noqa: PLC0415 - lazy: see the head of this file
            from chaos.run import Run, Settings  # noqa: PLC0415 - lazy

            option = self._config.getoption
            settings = Settings(
                stack=option("--stack"),
                update=option("--update"),
                compose=tuple(Path(file) for file in option("--compose")),
                evidence=Path(option("--evidence")),
                evidence_limit=evidence.size(option("--evidence-limit") or "1GB"),
                cases=option("--cases"),
                database=option("--hypothesis-database"),
                display=option("--display"),
                camera=option("--camera"),
                confirm_on=option("--confirm-on"),
                path=option("--path"),
                both_ways=option("--both-ways"),
            )
            self._run = Run(settings, say=self._say, on_case=self._count)
        return self._run

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a scenario file that cannot be read: pytest's code for that, 2, would say 'inconclusive'."""
        if report.failed and "chaos.household" in sys.modules:
            self.outcomes.add("uncollected")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what each test came to; under pytest-xdist this is called where the session ends."""
        self.outcomes.update(str(v) for k, v in report.user_properties if k == _PROPERTY)

    @property
    def started(self) -> Run | None:
        return self._run

    def close(self) -> None:
        """End the run, and write the page about it."""
        if self._run is not None:
            from chaos import report  # noqa: PLC0415 - lazy

            self._run.close()
            parts = [(self._run.title, self._run.evidence, self._run.findings)]
            report.write_page(self._run.evidence.folder / "index.html", parts)

    def pytest_runtest_logstart(self) -> None:
        """Count each test's cases from nothing."""
        self._cases = self._asks = self._frames = 0
        self._worst = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take the numbers off the terminal before pytest says what a test came to."""
        self._show("")
        return (yield)

    def _count(self, result: CaseResult) -> None:
        self._cases += 1
        self._asks += result.plan.asks
        self._frames += len(result.frames)
        before = () if self._worst is None else (self._worst,)
        self._worst = min((*before, *(j.verdict for j in result.frames)), default=None)
        worst = f", worst verdict {self._worst.word}" if self._worst is not None else ""
        self._show(f"{self._cases} cases, {self._asks} asks, {self._frames} frames judged{worst}")

    def _show(self, numbers: str) -> None:
        """Show numbers behind pytest's own line and leave the cursor where it was; a log gets none of this."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or not reporter.isatty:
            return
        room = max(0, reporter._tw.fullwidth - reporter._tw.width_of_current_line - 2)
        with self._uncaptured():
            reporter.write_raw(f"\x1b7\x1b[K {numbers[:room]}\x1b8", flush=True)

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or self._config.get_verbosity() < 1:
            self._show(line)
            return
        self._show("")
        with self._uncaptured():
            reporter.write_line(f"ownframe: {line}")


def pytest_configure(config: pytest.Config) -> None:
    """Make the session's run available to scenarios, and let SIGTERM end a run as Ctrl-C does."""
    config.addinivalue_line("markers", "homes(*owners): owners of the homes of a test that takes the fixture `home`")
    session = config.stash[_STATE] = _Session(config)
    config.pluginmanager.register(session, "ownframe-session")
    cleanup = contextlib.ExitStack()
    config.add_cleanup(cleanup.close)
    cleanup.enter_context(current.running(session.run))
    cleanup.enter_context(current.stoppable())


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Case]:
    """A freshly reset home system with a scenario's verbs, for a test without Hypothesis.

    What must hold is the same: after the test every displayed frame is judged, and a control is run before and after.
    Other owners than ada, grace and lin: ``@pytest.mark.homes("ada", "grace", "lin", "joan")``.
    """
    from chaos.household import Inconclusive, Leak  # noqa: PLC0415 - lazy
    from chaos.plan import Plan  # noqa: PLC0415 - lazy
    from chaos.run import Chapter, sentence  # noqa: PLC0415 - lazy
    from chaos.verdict import Outcome, Rules  # noqa: PLC0415 - lazy

    marker = request.node.get_closest_marker("homes")
    owners = tuple(marker.args) if marker else ("ada", "grace", "lin")
    run = current.run()
    chapter = Chapter(run, request.node.name, owners, Rules(minimum_strong_asks=0))
    case = chapter.home.case()
    yield case
    if current.stopping():  # pytest ends its session by ending fixtures: one that raises would cost JUnit and the page
        return
    result = chapter.judged(Plan(owners, ()), chapter.home.finish(case))
    conclusion = chapter.finish()
    leaks = result.leaks or conclusion.leaks
    if leaks:
        picture = run.evidence.full(leaks[0].frame.digest)
        where = chapter.whence(leaks[0])
        raise Leak(f"{sentence(leaks[0])} {where.sentence if where else ''} picture: {picture}", picture)
    if conclusion.outcome is not Outcome.PASSED:
        raise Inconclusive("inconclusive: " + "; ".join(conclusion.reasons))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect replay files that somebody committed: a finding that must stay away."""
    return _ReplayFile.from_parent(parent, path=file_path) if file_path.name.endswith(_REPLAY) else None


class _ReplayFile(pytest.File):
    """A file ``NAME.ownframe.json``, copied from a run's ``findings/N/replay.json``."""

    def collect(self) -> Iterator[pytest.Item]:
        yield _ReplayItem.from_parent(self, name="replay")


class _ReplayItem(pytest.Item):
    """Executes the file's plan on what the session has under test: its stack, its update or none."""

    def runtest(self) -> None:
        from chaos import replay  # noqa: PLC0415 - lazy
        from chaos.household import Inconclusive, Leak  # noqa: PLC0415 - lazy
        from chaos.register import Replay  # noqa: PLC0415 - lazy
        from chaos.verdict import Outcome  # noqa: PLC0415 - lazy

        file = Replay.read(self.path)
        done = replay.execute(current.run(), file, self.config.getoption("--replay-times") or file.times)
        if done.outcome is Outcome.LEAK:
            raise Leak(done.text, done.picture)
        if done.outcome is not Outcome.PASSED:
            raise Inconclusive(done.text)
        self.add_report_section("call", "ownframe", done.text)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"replay of {self.path.name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a finding as its own text, and what is unknown or unusable as an error instead of a failure."""
    report = yield
    if call.excinfo is None:
        return report
    error = call.excinfo.value
    kind = type(error).__name__ if type(error).__module__.startswith("chaos.") else ""
    outcome = {"Leak": "leak", "Inconclusive": "inconclusive"}.get(kind)
    if isinstance(error, OwnframeError):
        outcome = "unusable"
    scenario = getattr(getattr(item, "cls", None), "household", None)
    if outcome is None and scenario is not None and report.failed:
        # its own mistake, or ours, and no verdict: pytest's code for a failure, 1, would say that somebody saw another
        said = f"{type(error).__name__} came from {scenario.__name__} itself: no verdict on the home system; correct it"
        report.sections.append(("ownframe", said))
        report.when = "setup"
        report.user_properties.append((_PROPERTY, "unusable"))
        if call.when != "teardown":
            item.user_properties.append((_PROPERTY, "unusable"))
    elif outcome is not None:
        report.longrepr = str(error)
        report.when = "call" if outcome == "leak" else "setup"  # pytest and JUnit call the latter an error
        told = [(_PROPERTY, outcome)]
        picture = getattr(error, "picture", None) if outcome == "leak" else None
        if picture is not None:
            told.append((_PICTURE, str(picture)))
            # what GitLab and Jenkins' JUnit Attachments show beside the test: a line in its <system-out>
            section = ("Captured stdout call", f"[[ATTACHMENT|{picture}]]")
            if call.when == "teardown":
                report.sections.append(section)
            else:
                item.add_report_section("call", "stdout", section[1])
        report.user_properties.extend(told)
        if call.when != "teardown":
            item.user_properties.extend(told)  # JUnit takes those of the last report, which is made from these
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """End the run, and make its verdict pytest's exit status: leak 1, inconclusive 2, unusable 3."""
    state = session.config.stash[_STATE]
    state.close()
    found = state.started is not None and state.started.findings  # also when it was stopped while it was looked into
    if "leak" in state.outcomes or found:
        session.exitstatus = 1
    elif exitstatus == pytest.ExitCode.INTERRUPTED and "uncollected" in state.outcomes:
        session.exitstatus = 3
    elif exitstatus == pytest.ExitCode.TESTS_FAILED and state.outcomes:
        session.exitstatus = 3 if "unusable" in state.outcomes else 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how hard was tried, and where the evidence is."""
    run = config.stash[_STATE].started
    if run is None:
        return
    terminalreporter.section("ownframe")
    for name, conclusion in run.conclusions.items():
        tried = conclusion.exercise
        bound = (
            f", so at 95 % fewer than 1 in {1 / tried.bound_95:.0f} leak"
            if tried.bound_95 and not conclusion.leaks
            else ""
        )
        terminalreporter.write_line(
            f"{name}: {conclusion.outcome.name.lower()}; {tried.cases} cases, {tried.asks} asks, "
            f"{tried.displayed} displayed frames; {tried.strong_asks} asks met a fault and displayed own content{bound}"
        )
    for fingerprint, findings in run.by_fingerprint.items():
        also = f" (found by {len(findings)} scenarios)" if len(findings) > 1 else ""
        terminalreporter.write_line(f"finding {fingerprint}{also}: {findings[0].sentence}")
    terminalreporter.write_line(f"evidence: {run.evidence.folder}")
