"""Tides by the rule of twelfths."""


def height_after(hours: float, low: float, high: float) -> float:
    """The height of the water some hours after low tide, in metres."""
    twelfths = (0, 1, 3, 6, 9, 11, 12)
    whole = min(int(hours), 5)
    part = twelfths[whole] + (twelfths[whole + 1] - twelfths[whole]) * (hours - whole)
    return low + (high - low) * part / 12


def is_deep_enough(depth: float, draught: float, reserve: float = 0.5) -> bool:
    """Whether a boat may pass the bar at the entrance."""
    return depth >= draught + reserve
