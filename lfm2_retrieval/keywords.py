"""Unknown keywords: an error that says whose they were, and what was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from .errors import InvalidTypeError

__all__ = ["ELSEWHERE", "check_keywords", "refuse_unknown", "shown_as"]

P = ParamSpec("P")
R = TypeVar("R")

ELSEWHERE = {
    **dict.fromkeys(("top_k", "topk", "n", "n_results", "num_results", "limit", "size", "top_n"), "k"),
    **dict.fromkeys(("filter", "filters", "query_filter", "expr", "conditions"), "where"),
    **dict.fromkeys(("score_threshold", "similarity_threshold", "threshold", "minimum_score"), "min_score"),
    **dict.fromkeys(("search_type", "method", "kind"), "mode"),
    **dict.fromkeys(("alpha", "weights", "hybrid_weight"), "weight"),
    **dict.fromkeys(("num_threads", "n_threads", "workers"), "threads"),
    **dict.fromkeys(("n_probe", "num_probes", "probes"), "nprobe"),
    **dict.fromkeys(("model_name", "model_name_or_path", "encoder", "embedding_model"), "model"),
    **dict.fromkeys(("index_path", "folder", "persist_directory", "index_folder"), "path"),
    **dict.fromkeys(("overwrite", "override", "exist_ok", "exists"), "if_exists"),
    **dict.fromkeys(("progress", "show_progress", "show_progress_bar", "verbose"), "on_progress"),
    **dict.fromkeys(("max_length", "doc_maxlen", "max_seq_length"), "document_length"),
    **dict.fromkeys(("docs", "texts", "corpus", "data", "input"), "documents"),
}
"""What others call it."""


def refuse_unknown(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keywords that a call doesn't know.

    Parameters
    ----------
    name
        What was called, for the error.
    given, known
        The keywords.

    Raises
    ------
    InvalidTypeError
        Naming near ones.
    """
    names = list(known)
    for keyword in given:
        if keyword in names:
            continue
        other = ELSEWHERE.get(keyword.lower())
        near = [other] if other in names else get_close_matches(keyword.lower(), names, 2, 0.6)
        meant = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(names)}"
        raise InvalidTypeError(f"{name}() got an unexpected keyword argument {keyword!r}: {meant}")


def check_keywords(name: str, *more: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a function refuse unknown keywords under the ``name`` that its callers know it by.

    The signature is the function's own, so ``help``, ``inspect`` and notebooks show its parameters.
    ``more`` are keywords that it takes as ``**options``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        inner: Any = function
        while inner is not None:  # as Python's own errors call it, whatever it is wrapped in
            inner.__qualname__, inner = name, getattr(inner, "__wrapped__", None)
        known = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and parameter.name not in ("self", "cls")
        ] + list(more)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_unknown(name, kwargs, known)
            return function(*args, **kwargs)

        @wraps(function)
        async def checked_later(*args: P.args, **kwargs: P.kwargs) -> Any:
            refuse_unknown(name, kwargs, known)
            return await cast(Any, function(*args, **kwargs))

        return cast(Any, checked_later) if inspect.iscoroutinefunction(function) else checked

    return decorate


def shown_as(other: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have ``help``, ``inspect`` and notebooks show the parameters of another function, to which all go."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cast(Any, function).__signature__ = inspect.signature(other)
        return function

    return decorate
