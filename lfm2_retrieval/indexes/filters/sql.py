"""Filters written in SQL: a small part of its grammar, read from left to right into a condition.

::

    or        = and ("OR" and)*
    and       = not ("AND" not)*
    not       = "NOT" not | "(" or ")" | test
    test      = field [comparison] | value operator field | "TRUE" | "FALSE"
    comparison = operator value | ["NOT"] "IN" "(" value ("," value)* ")" | ["NOT"] "LIKE" string
              | ["NOT"] "BETWEEN" value "AND" value | "IS" ["NOT"] ("NULL" | "TRUE" | "FALSE")
    field     = name ("." name)*
    value     = string | ["-"] number | "TRUE" | "FALSE" | "NULL" | "(" value ")"

Strings stand in single quotes, names that are no plain words in double quotes (or, as in SQLite, in backticks
or brackets). Any word is a name but for those of the grammar. Nothing of the text reaches the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

from ...errors import InvalidInputError
from .comparisons import Comparisons, any_of
from .conditions import ALWAYS, NEVER, All, Condition

__all__ = ["parse_sql"]

T = TypeVar("T")

_LONGEST = 1 << 22
_DEEPEST = 100
_TOKENS = re.compile(
    r"""
    (?P<string>'[^']*(?:''[^']*)*')
    |(?P<quoted>"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`|\[[^\]]*\])
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><>|!=|==|<=|>=|[=<>(),.+-])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "FALSE"})
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_MIRRORED = {"=": "=", "!=": "!=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_CONSTANTS = {"NULL": None, "TRUE": True, "FALSE": False}
_GRAMMAR = "a filter takes fields, values, = != < <= > >= IN BETWEEN LIKE IS NULL AND OR NOT and parentheses"


def parse_sql(text: str) -> Condition:
    """The condition that a text is.

    Raises
    ------
    InvalidInputError
        If it is none; the message says where.
    """
    if len(text) > _LONGEST:
        raise InvalidInputError(f"the filter has {len(text):,} characters; at most {_LONGEST:,} are possible")
    return _Parser(text).parse()


class _Token(NamedTuple):
    """A piece of the text: its kind, what it means, and where it begins and ends."""

    kind: str
    value: Any
    start: int
    end: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._comparisons = Comparisons()
        self._depth = 0
        self._next = self._read(0)

    def parse(self) -> Condition:
        if self._next.kind == "end":
            raise InvalidInputError(
                f"the filter must be one condition, like lang = 'de'; not {self._text!r:.80}"
            )
        found = self._or()
        if self._next.kind != "end":
            self._refuse(f"AND or OR, or its end, was expected before {self._shown()}")
        return found

    # Conditions

    def _or(self) -> Condition:
        parts = [self._and()]
        while self._take_word("OR"):
            parts.append(self._and())
        return any_of(parts)

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._take_word("AND"):
            parts.append(self._not())
        return All.of(parts)

    def _not(self) -> Condition:
        if self._take_word("NOT"):
            return ~self._deeper(self._not)
        if self._take_sign("("):
            found = self._deeper(self._or)
            self._need_sign(")")
            return found
        return self._test()

    def _deeper(self, read: Callable[[], T]) -> T:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"it is nested more than {_DEEPEST} deep")
        found = read()
        self._depth -= 1
        return found

    def _test(self) -> Condition:
        if self._at_field():
            return self._comparison(self._field())
        value = self._value("a field")
        if self._next.value not in _OPERATORS or self._next.kind != "sign":
            if isinstance(value, bool):
                return ALWAYS if value else NEVER
            self._refuse(f"a value must be compared with a field, as in year = 2020, before {self._shown()}")
        operator = _MIRRORED[_OPERATORS[self._take().value]]
        if not self._at_field():
            self._refuse(f"a field was expected, not {self._shown()}: two values compare always alike")
        return self._compare(self._field(), operator, value)

    def _comparison(self, field: str) -> Condition:
        if self._next.kind == "sign" and self._next.value in _OPERATORS:
            return self._compare(field, _OPERATORS[self._take().value], self._value("a value"))
        if self._take_word("IS"):
            negated = self._take_word("NOT")
            if self._next.kind != "keyword" or self._next.value not in _CONSTANTS:
                self._refuse(f"NULL, TRUE or FALSE was expected after IS, not {self._shown()}")
            found = self._compare(field, "=", _CONSTANTS[self._take().value])
            return ~found if negated else found
        negated = self._take_word("NOT")
        if self._take_word("IN"):
            found = self._comparisons.is_in(field, self._list())
        elif self._take_word("LIKE"):
            found = self._like(field)
        elif self._take_word("BETWEEN"):
            bounds = [self._compare(field, ">=", self._value("a value"))]
            self._need_word("AND")
            found = All.of([*bounds, self._compare(field, "<=", self._value("a value"))])
        elif negated:
            self._refuse(f"IN, LIKE or BETWEEN was expected after NOT, not {self._shown()}")
        else:
            return self._compare(field, "=", True)
        return ~found if negated else found

    def _compare(self, field: str, operator: str, value: Any) -> Condition:
        if operator == "!=":
            return ~self._comparisons.compare(field, "=", value)
        return self._comparisons.compare(field, operator, value)

    def _list(self) -> list[Any]:
        self._need_sign("(", "IN takes values in parentheses, as in lang IN ('de', 'en')")
        values = [self._value("a value")]
        while self._take_sign(","):
            values.append(self._value("a value"))
        self._need_sign(")")
        return values

    def _like(self, field: str) -> Condition:
        pattern = self._value("a pattern")
        if not isinstance(pattern, str):
            self._refuse("LIKE takes a pattern in single quotes, as in title LIKE 'the %'")
        return self._comparisons.compare(field, "LIKE", pattern)

    # Fields and values

    def _at_field(self) -> bool:
        return self._next.kind in ("word", "quoted")

    def _field(self) -> str:
        names = [self._take().value]
        while self._take_sign("."):
            if self._next.kind not in ("word", "quoted", "keyword"):
                self._refuse(f"a field's name was expected after the dot, not {self._shown()}")
            token = self._take()
            names.append(self._text[token.start : token.end] if token.kind == "keyword" else token.value)
        return ".".join(names)

    def _value(self, wanted: str) -> Any:
        kind, value = self._next.kind, self._next.value
        if kind in ("string", "number"):
            return self._take().value
        if kind == "keyword" and value in _CONSTANTS:
            return _CONSTANTS[self._take().value]
        if kind == "sign" and value in ("-", "+"):
            self._take()
            if self._next.kind != "number":
                self._refuse(f"a number was expected after {value}, not {self._shown()}")
            number = self._take().value
            return -number if value == "-" else number
        if wanted == "a value" and self._take_sign("("):
            found = self._deeper(lambda: self._value(wanted))
            self._need_sign(")")
            return found
        if self._at_field() and wanted != "a field":
            self._refuse(
                f"{wanted} was expected, not the field {self._shown()}; strings stand in single quotes, as "
                "in lang = 'de'"
            )
        return self._refuse(f"{wanted} was expected, not {self._shown()}")

    # Tokens

    def _read(self, place: int) -> _Token:
        text = self._text
        start = _SPACE.match(text, place).end()  # type: ignore[union-attr]
        if start == len(text):
            return _Token("end", None, start, start)
        found = _TOKENS.match(text, start)
        if found is None:
            return _Token("unknown", text[start], start, start + 1)
        kind, raw, end = str(found.lastgroup), found.group(), found.end()
        value: Any = raw
        if kind == "string":
            value = raw[1:-1].replace("''", "'")
        elif kind == "quoted":
            value = raw[1:-1] if raw[0] == "[" else raw[1:-1].replace(raw[0] * 2, raw[0])
        elif kind == "word" and raw.upper() in _KEYWORDS:
            kind, value = "keyword", raw.upper()
        elif kind == "number":
            value = self._number(raw)
        return _Token(kind, value, start, end)

    def _number(self, raw: str) -> float:
        try:
            return float(raw) if set(raw) & set(".eE") else int(raw)
        except ValueError:  # of thousands of digits
            raise InvalidInputError(f"the filter has a number of {len(raw):,} digits") from None

    def _take(self) -> _Token:
        token = self._next
        self._next = self._read(token.end)
        return token

    def _take_word(self, word: str) -> bool:
        if found := self._next.kind == "keyword" and self._next.value == word:
            self._take()
        return found

    def _take_sign(self, sign: str) -> bool:
        if found := self._next.kind == "sign" and self._next.value == sign:
            self._take()
        return found

    def _need_word(self, word: str) -> None:
        if not self._take_word(word):
            self._refuse(f"{word} was expected, not {self._shown()}")

    def _need_sign(self, sign: str, remedy: str = "") -> None:
        if not self._take_sign(sign):
            self._refuse(remedy or f"{sign} was expected, not {self._shown()}")

    def _shown(self) -> str:
        token = self._next
        if token.kind == "end":
            return "its end"
        if token.kind == "unknown" and token.value in _UNKNOWN:
            return _UNKNOWN[token.value]
        return repr(self._text[token.start : min(token.end, token.start + 40)])

    def _refuse(self, reason: str) -> NoReturn:
        place = self._next.start
        before, after = self._text[max(0, place - 60) : place], self._text[place : place + 60]
        shown = ("…" if place > 60 else "") + before + after + ("…" if place + 60 < len(self._text) else "")
        raise InvalidInputError(f"the filter {shown!r} is not SQL that can be used: {reason}; {_GRAMMAR}")


_UNKNOWN = {
    "'": "a string whose closing quote is missing",
    '"': "a name whose closing quote is missing",
    "&": "'&': write AND",
    "|": "'|': write OR",
    "!": "'!': write NOT",
    "?": "'?': values are written into the filter",
    ";": "';': a filter is one condition",
}
