"""Text that every terminal, database and file can hold."""

from __future__ import annotations

import re

_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which a terminal would obey (line ends and tabs apart), those that reverse
text, and halves of characters, which no encoding has."""


def is_fit(text: str) -> bool:
    """Whether a text holds nothing that cannot be shown or stored."""
    return _UNFIT.search(text) is None


def escaped(text: str) -> str:
    r"""The text with what cannot be shown or stored as in source code.

    >>> escaped("caf\xe9 \x1b[2J")
    'café \\x1b[2J'
    """
    return _UNFIT.sub(lambda match: match.group().encode("unicode_escape").decode(), text)
