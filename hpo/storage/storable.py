"""Attributes as every reader of a database takes them: strict JSON, terminals, UTF-8 files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpo.text import escaped


def storable(value: Any) -> Any:
    """NaN and infinity as text, for PostgreSQL's JSON and strict readers refuse them; and text
    without what cannot be shown: it is escaped as in source code.

    >>> storable({"reason": "\\x1b[2J caf\\xe9 \\udc80", "value": float("nan")})
    {'reason': '\\\\x1b[2J café \\\\udc80', 'value': 'nan'}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
