"""docs/performance.md: the tables between its markers, made from the JSON files that the scripts of claims wrote.

What stands between `<!-- NAME -->` and `<!-- end NAME -->` is replaced: NAME is `claims` (all of them in one table),
a script's name (its tables and notes), or `others` (reports that no script of the list made). The rest of the page is
written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from submodel.report.wording import amount

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

Reports = dict[str, dict[str, Any]]


class RenderError(ValueError):
    """The page or a report cannot be used."""


def render(page: str, folder: Path, commands: Mapping[str, str]) -> str:
    """The page with its tables replaced.

    Args:
        page: Its text.
        folder: Where the reports lie, NAME.json.
        commands: What makes each report, by name, in the order of the claims.

    Raises:
        RenderError: A marker is missing, or a report cannot be read.
    """
    reports = read_reports(folder)
    others = [name for name in sorted(reports) if name not in commands]
    ordered = {name: reports[name] for name in [*commands, *others] if name in reports}
    page = replaced(page, "claims", claims(ordered))
    for name, command in commands.items():
        report = reports.get(name)
        page = replaced(page, name, f"Not measured here: `{command}`" if report is None else section(report))
    return replaced(page, "others", "\n\n".join(section(reports[name]) for name in others))


def read_reports(folder: Path) -> Reports:
    """The reports of a folder by name.

    Raises:
        RenderError: One is not what `Report.write` writes.
    """
    found: Reports = {}
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in ("command", "machine", "claims", "tables", "notes") if key not in report]
        except (ValueError, TypeError) as error:
            raise RenderError(f"{path.name} is not JSON ({error}): run its script again") from error
        if missing:
            raise RenderError(f"{path.name} lacks {', '.join(missing)}: run its script again")
        found[path.stem] = report
    return found


def replaced(page: str, name: str, text: str) -> str:
    """The page with other text between the markers of a name.

    Raises:
        RenderError: They are not there, once each and in their order.
    """
    first, last = f"<!-- {name} -->", f"<!-- end {name} -->"
    if page.count(first) != 1 or page.count(last) != 1 or page.index(first) > page.index(last):
        raise RenderError(
            f"the page needs the marker {first} once, and {last} once after it: put them where the tables of "
            f"'{name}' belong"
        )
    before, _, rest = page.partition(first)
    after = rest.partition(last)[2]
    return f"{before}{first}\n{text}\n{last}{after}" if text else f"{before}{first}\n{last}{after}"


def claims(reports: Reports) -> str:
    """All claims in one table, and what machine they were measured on."""
    if not reports:
        return "Nothing was measured yet: `./run benchmarks`"
    rows = [
        [claim["what"], f"{number(claim['measured'])} {claim['unit']}", _target(claim), _reached(claim), f"`{command}`"]
        for report in reports.values()
        for command in [report["command"]]
        for claim in report["claims"]
    ]
    held = [claim["reached"] for report in reports.values() for claim in report["claims"]]
    counted = f"{held.count(True)} of {len(held) - held.count(None)} targets are reached. {machines(reports)}"
    return f"{counted}\n\n{table(('claim', 'measured', 'target', 'reached', 'command'), rows)}"


def machines(reports: Reports) -> str:
    """What the figures were taken on; which reports, where machines differ."""
    by_machine: dict[str, list[str]] = {}
    for name, report in reports.items():
        said = report["machine"]
        cores = said.get("cores")
        words = f"{said.get('processor')}, {cores} core{'' if cores == 1 else 's'}"
        by_machine.setdefault(words, []).append(name)
    if len(by_machine) == 1:
        return f"Measured on {next(iter(by_machine))}."
    return " ".join(f"{', '.join(names)}: measured on {words}." for words, names in by_machine.items())


def section(report: Mapping[str, Any]) -> str:
    """Command, tables and notes of a report."""
    parts = [f"`{report['command']}`"]
    for each in report["tables"]:
        parts += [f"**{each['title']}**", table(each["columns"], each["rows"])]
    if report["notes"]:
        parts.append("\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; columns of numbers are aligned right."""
    rows = [list(row) for row in rows]
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    lines = [_line(columns), _line(["---:" if right else "---" for right in numeric])]
    return "\n".join(lines + [_line([number(value) for value in row]) for row in rows])


def number(value: Any) -> str:
    """A number with three digits, a whole one as it is; words stay words."""
    return amount(value) if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(cells: Iterable[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]  # a bar would end the cell
    return f"| {' | '.join(escaped)} |"


def _target(claim: Mapping[str, Any]) -> str:
    if claim["target"] is None:
        return ""
    return f"{'≥' if claim['at_least'] else '≤'} {claim['target']:g} {claim['unit']}"


def _reached(claim: Mapping[str, Any]) -> str:
    return {True: "yes", False: "**no**", None: ""}[claim["reached"]]
