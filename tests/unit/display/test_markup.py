"""Names are text in reports, whatever they hold."""

import pytest

from lfm2_retrieval.display.markup import code, unmarked
from lfm2_retrieval.display.markup import latex as as_latex
from lfm2_retrieval.display.markup import markdown as as_markdown
from lfm2_retrieval.evaluation.report import html, latex, markdown
from lfm2_retrieval.evaluation.tables import Section, Table

BAD = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://example.org/pixel.png)",
    "[click][ref]",
    "a | b",
    "a\n\n# heading\n\n| x |",
    "**bold** _it_ ~~no~~",
    "`code` ``",
    "$x$ $$y$$",
    "&lt;b&gt; &#60;",
    "\\[x](y)",
    "\x1b[31mred\u202e\u2028",
    "\\input{/etc/passwd}",
    "\\\\[1em] %$#_{}~^&",
    "*",
    "[",
    "~~~",
]


@pytest.mark.parametrize("name", BAD)
def test_no_name_is_markup_in_a_report(name):
    part = Section(name, [f"About {as_markdown(name)}."], [Table([name, "x"], [[name, name]])])
    text = markdown(name, [part], lambda _: None)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("\n# ") == 0
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [3, 3, 3]
    page = html(name, [part], lambda _: None)
    assert "<script>alert" not in page
    assert "<img" not in page
    table = latex(name, [Section("Quality", part.text, part.tables)])
    for line in table.splitlines():
        assert line.startswith("%") or "\\input" not in line
        assert line.startswith(("%", "\\", "{}")) or " & " in line or not line


@pytest.mark.parametrize("name", BAD)
def test_markdown_renders_as_the_text(name):
    """By a parser of Markdown, where one is there."""
    library = pytest.importorskip("markdown_it")
    parser = library.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    inline = [one for one in parser.parse(f"About {as_markdown(name)}") if one.type == "inline"]
    assert len(inline) == 1
    kinds = {one.type for one in inline[0].children}
    assert kinds <= {"text", "text_special"}, kinds
    seen = "".join(one.content for one in inline[0].children)
    assert " ".join(name.split())[:4] in seen or "\\x1b" in seen


@pytest.mark.parametrize(
    "name",
    [
        "LiquidAI/LFM2-ColBERT-350M",
        "nDCG@10",
        "en *",
        ".512 [.4, .6]",
        "demo_de",
        "en ← de",
        "1.5 †",
    ],
)
def test_ordinary_names_stay_readable(name):
    assert unmarked(as_markdown(name)) == name
    assert as_markdown(name) == name


@pytest.mark.parametrize("name", BAD)
def test_marks_are_taken_off_again(name):
    assert (
        unmarked(as_markdown(name))
        .replace("\\x1b", "")
        .startswith(" ".join(name.split())[:1].replace("\x1b", "["))
    )
    assert unmarked("in `results.json`") == "in results.json"


def test_code_ends_where_it_should():
    assert code("a `b` c\n") == "`a 'b' c`"


def test_cells_of_latex():
    assert as_latex("a_b & 50 % \\x") == r"a\_b \& 50 \% \textbackslash{}x"
    assert as_latex("[1]") == "{}[1]"
    assert as_latex("a\u2028b\x07") == r"a b\textbackslash{}x07"
