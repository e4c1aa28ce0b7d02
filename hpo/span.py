"""How far and how finely numbers can be searched: databases and samplers compute with floats."""

from __future__ import annotations

EXACT = 2**53
"""Floats tell whole numbers apart up to here."""
LARGEST, SMALLEST = 1e100, 1e-100
"""Samplers square numbers and multiply them: what is beyond is infinite or 0 then."""
NARROWEST = 1e-12
"""The least width of a range, in shares of its larger end, that leaves a sampler room."""
FINEST = 2.0**-52
"""The least step, likewise."""


def span_problem(
    low: float, high: float, step: float | None, *, whole: bool, log: bool
) -> str | None:
    """Why low..high in such steps cannot be searched, or None."""
    if whole:
        if max(abs(low), abs(high), high - low, step or 1) <= EXACT:
            return None
        return (
            f"{_shown(low)}..{_shown(high)} reaches beyond 2**53, above which whole numbers "
            "are not told apart: search a smaller range, or an exponent"
        )
    largest = max(abs(low), abs(high))
    if largest > LARGEST:
        return (
            f"{_shown(low)}..{_shown(high)} is wider than samplers can compute with: "
            f"stay within -{LARGEST:g}..{LARGEST:g}, or search the exponent"
        )
    if log and low < SMALLEST:
        return f"low {low} must be at least {SMALLEST:g} with log=True: raise it"
    if low < high and high - low < max(SMALLEST, NARROWEST * largest):
        return f"{low}..{high} is too narrow to search: widen it, or give the value alone"
    if step is not None and step < FINEST * largest:
        return f"step {step} is finer than floats near {largest:g} are: raise it, or leave it out"
    return None


def _shown(value: float) -> str:
    """Python refuses to write whole numbers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"{'-' if value < 0 else ''}2**{value.bit_length() - 1}"
    return str(value)
