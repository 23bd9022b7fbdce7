"""Reports: LaTeX that compiles, HTML that holds nothing but text, axes that don't make chance look large."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lfm2_retrieval.evaluation.plots import _range
from lfm2_retrieval.evaluation.report import html, latex, markdown
from lfm2_retrieval.evaluation.tables import Section, Table

ODD = r"[a]_b & 50% of $x^2$ ~ {c} \d <e> | † ← – #1"
PARTS = [
    Section("Quality", [], [Table(["set", ODD, "nDCG@10"], [[ODD, "*", "0.5"], ["*x*", "[y]", "1.0"]])], ()),
    Section("Speed", [], [Table(["a"], [["b"]])]),
]
COMMANDS = (
    r"\\(?:toprule|midrule|bottomrule|begin\{tabular\}\{[lr]+\}|end\{tabular\}|\\|[&%$#_{}]|text\w+\{\})"
)


def test_latex_is_whole():
    text = latex("A title\nof two % lines", PARTS)
    body = [line for line in text.splitlines() if line and not line.startswith("%")]
    assert "Speed" not in text
    assert "% Quality\n% * is 50 % of x" in latex("x", [Section("Quality", ["\\* is 50 % of\n`x`"])])
    rows = [line for line in body if line.endswith(r" \\")]
    assert len(rows) == 3
    for line in rows:
        assert len(re.findall(r"(?<!\\)&", line)) == 2
        assert not line.startswith(("*", "["))
    plain = re.sub(r"\$(?:\\leftarrow|\\dagger|[<>|])\$", "", " ".join(body))
    plain = re.sub(COMMANDS, "", plain)
    assert not re.search(r"[\\%$#_^~{}]", plain.replace("{}*", "*").replace("{}[", "["))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path):
    document = (
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}\\begin{document}"
        f"{latex('x', PARTS)}\\end{{document}}"
    )
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    if "not found" in made.stdout:
        pytest.skip("needs booktabs")
    assert made.returncode == 0, made.stdout[-2000:]


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_html_escapes_and_is_balanced():
    pytest.importorskip("jinja2")
    page = Balance()
    page.feed(html("<b>", PARTS, lambda _: None))
    assert page.open == []
    assert page.texts.count(ODD) == 2
    assert "<b>" in page.texts


def test_markdown_keeps_its_columns():
    lines = [line for line in markdown("x", PARTS, lambda _: None).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]} == {4}


@pytest.mark.parametrize("values", [[0.8255, 0.8272], [0.5], [0.1, 0.9], [0.4, 0.47]])
def test_small_differences_look_small(values):
    low, high = _range(values)
    assert high - low >= 0.1 - 1e-9
    assert low < min(values)
    assert high > max(values)
