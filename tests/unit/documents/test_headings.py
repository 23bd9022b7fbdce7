import pytest

from lfm2_retrieval.documents.headings import headings_of


def titles(kind, text):
    found = headings_of(kind, text)
    for heading in found:
        assert 0 <= heading.start < heading.end <= len(text)
    return [(heading.level, heading.title) for heading in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A\n## B ##\n####### no\n#no\n", [(1, "A"), (2, "B")]),
        ("A\n===\n\nB b\n---\ntext\n", [(1, "A"), (2, "B b")]),
        ("- item\n---\n\n> quote\n---\n| a |\n---\n\n---\n", []),
        ("```\n# no\n```\n~~~py\n# no\n```\n~~~\n# A\r\n# B\r\n", [(1, "A"), (1, "B")]),
        ("<!-- # no\n# no\n-->\n# A <!-- x -->\n# B\n", [(1, "B")]),
        ("# **A** `b` [link](http://x) {#id}\n#\n", [(1, "A b link")]),
        ("# snake_case and *it*\n", [(1, "snake_case and it")]),
        ("text\n   # A\n    # no\n", [(1, "A")]),
    ],
)
def test_markdown(text, expected):
    assert titles("markdown", text) == expected


def test_restructured_text():
    text = "=====\nTitle\n=====\n\nPart\n====\n\ntext\nmore\n----\n\nSub\n---\n\nPart 2\n======\n\n"
    text += "+---+\n| a |\n+---+\n"
    assert titles("rst", text) == [(1, "Title"), (2, "Part"), (3, "Sub"), (2, "Part 2")]


def test_other_markup():
    assert titles("latex", "\\section{A}\n\\subsection*{B}\ntext \\section{no}") == [(1, "A"), (2, "B")]
    assert titles("asciidoc", "= A\n== B\ntext\n") == [(1, "A"), (2, "B")]
    assert titles("org", "* A\n** B\n") == [(1, "A"), (2, "B")]
    assert titles("text", "# A\n") == []


def test_code():
    python = "import x\n\n@cached\n# why\nclass A(B):\n    def f(self):\n        pass\n\nasync def g():\n"
    assert titles("code", python) == [(1, "class A"), (2, "def f"), (1, "def g")]
    assert headings_of("code", python)[0].start == python.index("@cached")
    rust = "/// Docs\npub struct A {\n}\n\nimpl A {\n    pub(crate) fn new() -> A {\n    }\n}\n"
    assert titles("code", rust) == [(1, "struct A"), (1, "impl A"), (2, "fn new")]
    assert headings_of("code", rust)[0].start == 0
