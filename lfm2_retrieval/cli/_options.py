"""Options that several commands have in common, as one decorator."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Decorator", "together"]

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator; the first is shown first."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
