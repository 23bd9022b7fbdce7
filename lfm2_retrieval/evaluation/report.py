"""Reports of an evaluation: Markdown, HTML in one file, LaTeX, and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..display import markup
from ..display.markup import markdown as escaped
from ..display.markup import unmarked
from ..errors import MissingExtraError
from ..printable import printable
from .published import load_published
from .results import means_of, read_results
from .runs import write_lines
from .sections import sections
from .tables import Content, Section, Table

__all__ = ["html", "latex", "markdown", "summary", "write_reports"]

Figure = Callable[[str], str | None]
"""A picture's name → what stands for it in a report, or None where there is none."""


def write_reports(folder: Path) -> list[Path]:
    """Make ``report.md``, ``report.html``, ``table.tex`` and, where matplotlib is there, ``plots/``.

    Parameters
    ----------
    folder
        With a ``results.json``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InvalidInputError
        If there are no results, or they are damaged.
    """
    content = read_results(folder)
    if "means" not in content:  # the evaluation was interrupted
        content["means"] = means_of(folder, content, content["settings"]["seed"])
    written: list[Path] = []
    drawn: Mapping[str, tuple[Path, Path]] = {}
    with suppress(MissingExtraError):  # the reports do without pictures
        from .plots import draw

        drawn = draw(content, folder / "plots")
    parts = sections(content, load_published(content["suite"].get("published", ())))
    title = _title(content)

    def linked(name: str) -> str | None:
        return f"![{name}](plots/{drawn[name][0].name})" if name in drawn else None

    def inlined(name: str) -> str | None:
        if name not in drawn:
            return None
        svg = drawn[name][1].read_text(encoding="utf-8")
        return _own_ids(svg[svg.index("<svg") :], name)

    texts = {
        "report.md": markdown(title, parts, linked),
        "table.tex": latex(title, parts),
    }
    with suppress(MissingExtraError):  # Markdown and LaTeX need no template
        texts["report.html"] = html(title, parts, inlined)
    for name, text in texts.items():
        write_lines([text], folder / name)
        written.append(folder / name)
    return written + [file for pair in drawn.values() for file in pair]


def summary(content: Content) -> str:
    """The first tables, for a terminal."""
    parts = sections(content, ())
    chosen = [part for part in parts if part.title.startswith(("Quality", "Across", "What", "Failed"))]
    return "\n".join(_markdown_section(part, lambda _: None) for part in chosen if part.tables)


def _title(content: Content) -> str:
    return f"{content['suite']['title']}: {Path(content['model']['name']).name}"


def markdown(title: str, parts: list[Section], figure: Figure) -> str:
    """The report as Markdown."""
    return f"# {escaped(title)}\n\n" + "\n".join(_markdown_section(part, figure) for part in parts)


def _markdown_section(part: Section, figure: Figure) -> str:
    lines = [f"## {escaped(part.title)}", ""]
    for paragraph in part.text:
        lines += [paragraph, ""]
    for table in part.tables:
        lines += [*_markdown_table(table), ""]
    for name in part.figures:
        if (shown := figure(name)) is not None:
            lines += [shown, ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    rows = [
        [f"**{escaped(text)}** ✗" if (i, j) in table.marked else escaped(text) for j, text in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    heading = ["---" if _is_text(table, j) else "---:" for j in range(len(table.columns))]
    return [f"| {' | '.join(line)} |" for line in ([escaped(name) for name in table.columns], heading, *rows)]


def _is_text(table: Table, column: int) -> bool:
    return any(re.search(r"[A-Za-z]{2}", row[column]) for row in table.rows)


def latex(title: str, parts: list[Section]) -> str:
    """The quality tables as LaTeX, for booktabs."""
    chosen = [part for part in parts if part.title.startswith(("Quality", "Across", "By task", "What"))]
    lines = [f"% {printable(' '.join(title.split()))}", "% \\usepackage{booktabs}"]
    for part in chosen:
        lines += ["", f"% {unmarked(part.title)}", *(f"% {unmarked(paragraph)}" for paragraph in part.text)]
        for table in part.tables:
            columns = "".join("l" if _is_text(table, j) else "r" for j in range(len(table.columns)))
            lines += ["", f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
            lines += [" & ".join(map(markup.latex, table.columns)) + r" \\", "\\midrule"]
            lines += [" & ".join(map(markup.latex, row)) + r" \\" for row in table.rows]
            lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def html(title: str, parts: list[Section], figure: Figure) -> str:
    """The report as one HTML file that loads nothing else.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("the HTML report", "eval") from None
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE)
    return template.render(
        title=title, parts=parts, figure=figure, is_text=_is_text, plain=unmarked, shown=printable
    )


def _own_ids(svg: str, name: str) -> str:
    """The ids in a picture made its own, as several pictures share a page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|xlink:href="#|href="#)', rf"\g<1>{name}-", svg)


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ shown(title) }}</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0
1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
p { max-width: 44rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid #1a1a1a; vertical-align: bottom; }
tr + tr td { border-top: 1px solid #eee; }
.text { text-align: left; }
.miss { color: #a8201a; font-weight: 600; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>{{ shown(title) }}</h1>
{% for part in parts %}
<h2>{{ shown(part.title) }}</h2>
{% for paragraph in part.text %}
<p>{{ plain(paragraph) }}</p>
{% endfor %}
{% for table in part.tables %}
<div class="scroll"><table>
<tr>
{% for name in table.columns %}
<th{% if is_text(table, loop.index0) %} class="text"{% endif %}>{{ shown(name) }}</th>
{% endfor %}
</tr>
{% for row in table.rows %}
{% set number = loop.index0 %}
<tr>
{% for text in row %}
{% set missed = (number, loop.index0) in table.marked %}
<td class="{{ "text" if is_text(table, loop.index0) }}{{ " miss" if missed }}">
{{ shown(text) }}{{ " ✗" if missed }}
</td>
{% endfor %}
</tr>
{% endfor %}
</table></div>
{% endfor %}
{% for name in part.figures %}
{% if figure(name) %}
<figure>{{ figure(name) | safe }}</figure>
{% endif %}
{% endfor %}
{% endfor %}
</body>
</html>
"""
