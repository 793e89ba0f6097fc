"""A result as CI services want it: JUnit for all of them, GitHub's step summary and annotations."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from chaos.gate.result import Finding, Result, Scenario

_CONTROL = {c: None for c in range(32) if chr(c) not in "\t\n\r"}
"""What XML 1.0 has no place for: whoever wrote it in a message meant none of it."""


def junit(result: Result) -> bytes:
    """Return a JUnit file: a test case a scenario, a leak as its failure, what is inconclusive or unusable as an error.

    The picture of a leak is an attachment as GitLab and Jenkins show it, and a property for whoever reads those.
    """
    cases = list(_cases(result))
    suite = ET.Element(
        "testsuite",
        name="ownframe gate",
        tests=str(len(cases)),
        failures=str(sum(c.find("failure") is not None for c in cases)),
        errors=str(sum(c.find("error") is not None for c in cases)),
        skipped=str(sum(c.find("skipped") is not None for c in cases)),
        time=f"{result.seconds:.1f}",
        timestamp=result.began.removesuffix("Z"),
    )
    _properties(
        suite,
        {
            "ownframe": result.verdict,
            "ownframe.evidence": result.evidence,
            "ownframe.seed": str(result.seed),
            "ownframe.stack": result.under_test.stack,
            "ownframe.update": result.under_test.update.name if result.under_test.update else "",
            "ownframe.compose": " ".join(result.under_test.compose.files) if result.under_test.compose else "",
            "ownframe.strong_asks": str(result.strong_asks),
            "ownframe.bound_95": "" if result.bound_95 is None else f"{result.bound_95:.6f}",
        },
    )
    suite.extend(cases)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made + b"\n"


def _cases(result: Result) -> Iterator[ET.Element]:
    for scenario in result.scenarios:
        case = ET.Element("testcase", classname=f"ownframe.{Path(scenario.file).stem}", name=scenario.name)
        case.set("file", scenario.file)
        found = [f for f in result.findings if f.scenario == scenario.name]
        told = {"ownframe": scenario.verdict, "ownframe.strong_asks": str(scenario.strong_asks)}
        pictures = [f.picture for f in found if f.picture]
        if pictures:
            told["ownframe.picture"] = pictures[0]
        _properties(case, told)
        match scenario.verdict:
            case "leak":
                _outcome(case, "failure", "leak", found[0].sentence, "\n\n".join(_text(f) for f in found))
            case "inconclusive" | "unusable":
                _outcome(case, "error", scenario.verdict, scenario.reasons[0], "\n".join(scenario.reasons))
            case "skipped":
                _outcome(case, "skipped", "skipped", scenario.skipped or "", "")
            case "not finished":
                what = "skipped" if result.verdict == "leak" else "error"
                _outcome(case, what, "not finished", f"the gate ended before: {result.headline}", "")
            case _:
                pass
        if pictures:
            ET.SubElement(case, "system-out").text = "\n".join(f"[[ATTACHMENT|{p}]]" for p in pictures)
        yield case
    if not result.scenarios:
        case = ET.Element("testcase", classname="ownframe", name="gate")
        _outcome(case, "error", result.verdict, result.headline, "\n".join(result.reasons))
        yield case


def _properties(parent: ET.Element, values: Mapping[str, str]) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=_clean(value))


def _outcome(case: ET.Element, kind: str, what: str, message: str, text: str) -> None:
    element = ET.SubElement(case, kind, message=_clean(message))
    if kind != "skipped":
        element.set("type", what)
    element.text = _clean(text)


def _clean(text: str) -> str:
    return text.translate(_CONTROL)


def _text(finding: Finding) -> str:
    lines = [finding.sentence, *filter(None, [finding.where])]
    if finding.program:
        lines += ["", *(f"    {line}" for line in finding.program.splitlines())]
    often = finding.reproduction
    if often.tries:
        lines += ["", f"reproduced {often.hits} of {often.tries} times"]
    if finding.picture:
        lines += [f"picture: {finding.picture}"]
    if finding.fingerprint:
        lines += [
            f"finding {finding.fingerprint}" + (f"; again: ownframe replay {finding.replay}" * bool(finding.replay))
        ]
    return "\n".join(lines)


# GitHub.


def tell_github(result: Result, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Write the step summary where GitHub Actions runs this, and yield its annotations, a line each for stdout."""
    environment = os.environ if environment is None else environment
    summary = environment.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(result))
    if environment.get("GITHUB_ACTIONS") == "true":
        yield from annotations(result, Path(environment.get("GITHUB_WORKSPACE") or "."))


def annotations(result: Result, root: Path) -> Iterator[str]:
    """Yield a workflow command for each leak and each reason, at the line of its scenario."""
    places = {s.name: s for s in result.scenarios}
    for finding in (f for f in result.findings if f.accepted is None):
        yield _command("error", "Leak", finding.sentence, places.get(finding.scenario), root)
    for scenario in result.scenarios:
        if scenario.verdict == "inconclusive":
            yield _command("error", "Inconclusive", "; ".join(scenario.reasons), scenario, root)
    if result.verdict != "passed" and not result.findings:
        yield _command("error", "ownframe gate", result.headline, None, root)
    for note in result.notes:
        yield _command("notice", "ownframe gate", note, None, root)


def _command(kind: str, title: str, message: str, place: Scenario | None, root: Path) -> str:
    properties = [f"title={_escaped(title, property_=True)}"]
    if place is not None and Path(place.file).is_relative_to(root):
        relative = str(Path(place.file).relative_to(root))
        properties += [f"file={_escaped(relative, property_=True)}", f"line={place.line}"]
    return f"::{kind} {','.join(properties)}::{_escaped(message)}"


def _escaped(text: str, *, property_: bool = False) -> str:
    """Escape what ends a workflow command or a property of it (github.com/actions/toolkit, command.ts)."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text


_SIGNS = {"passed": "✅", "leak": "❌", "inconclusive": "⚠️", "unusable": "⛔"}


def markdown(result: Result) -> str:
    """Return the result as GitHub-flavoured Markdown: the headline first, then numbers, scenarios, findings."""
    under = result.under_test
    what = f"update `{_md(under.update.name)}` ({under.update.digest})" if under.update else "the home system as it is"
    if under.compose is not None:
        what = f"{', '.join(_md(Path(file).name) for file in under.compose.files)} ({under.compose.digest})"
    counted = (result.cases, result.asks, result.strong_asks, result.displayed, result.foreign, result.unreadable)
    numbers = [str(n) for n in (*counted, round(result.seconds))]
    lines = [
        f"## {_SIGNS[result.verdict]} {_md(result.headline)}",
        "",
        f"Under test: {what}, stack `{under.stack}`, seed `{result.seed}`.",
        "",
        "| cases | asks | met a fault and displayed own | frames | foreign | unreadable | seconds |",
        "|--:|--:|--:|--:|--:|--:|--:|",
        f"| {' | '.join(numbers)} |",
        "",
    ]
    for finding in result.findings:
        lines += [f"### {_md(finding.sentence)}", "", *_fenced(_text(finding).partition("\n")[2].strip()), ""]
    if result.scenarios:
        lines += ["| scenario | verdict | cases | asks |", "|:--|:--|--:|--:|"]
        lines += [f"| {_md(s.name)} | {s.verdict} | {s.cases} | {s.asks} |" for s in result.scenarios]
        lines += [""]
    lines += [*_listed("Why it is no pass", result.reasons), *_listed("Not exercised", not_exercised(result))]
    lines += _listed("Notes", result.notes)
    lines += [f"Evidence: `{result.evidence}`", ""]
    return "\n".join(lines)


def _listed(title: str, entries: Iterable[str]) -> list[str]:
    items = [f"- {_md(e)}" for e in entries]
    return [f"**{title}**", "", *items, ""] if items else []


def _fenced(text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence, text, fence] if text else []


def _md(text: str) -> str:
    """Escape what Markdown or HTML would take for more than text; a line break is a space."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|#~" else c for c in text)


def not_exercised(result: Result) -> Iterator[str]:
    """Yield a sentence for each way in which the gate did not try."""
    untouched = result.not_exercised
    if untouched.drawn:
        pairs = (f"{kind} on {link}" for link, kinds in untouched.drawn.items() for kind in kinds)
        yield f"drawn, and met by no ask: {', '.join(pairs)}"
    if untouched.links and result.witnessed:
        yield f"links on which no ask met a fault: {', '.join(untouched.links)}"
    if untouched.kinds and result.witnessed:
        yield f"kinds of fault that no ask met: {', '.join(untouched.kinds)}"
