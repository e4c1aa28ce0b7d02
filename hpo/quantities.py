"""Numbers, durations and counts as people read them."""

from __future__ import annotations


def counted(n: int, what: str, several: str | None = None) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{n:,} {what if n == 1 else several or f'{what}s'}"


def number(value: float) -> str:
    """A value with four significant digits, for people.

    >>> number(0.123456), number(24810.0), number(3.0)
    ('0.1235', '24810', '3')
    """
    whole = 1e4 <= abs(value) < 1e12
    return f"{value:.0f}" if whole else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`1m 05s`"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
