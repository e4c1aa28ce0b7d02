"""What is stored can be shown everywhere."""

from __future__ import annotations

import doctest
import json

import pytest

from hpo.storage import storable as module
from hpo.storage.storable import storable


@pytest.mark.parametrize(
    "text", ["a\x00b", "\x1b[31mred", "\udcff", "50 %\r100 %", "\u202egnp.exe", "\x9b2J"]
)
def test_text_from_user_code_is_escaped_where_it_is_stored(text: str) -> None:
    stored = storable({"attrs": [text, {text: text}]})
    written = json.dumps(stored, ensure_ascii=False)
    written.encode("utf-8")
    assert all(c.isprintable() for c in written)
    assert stored["attrs"][0] == text.encode("unicode_escape").decode()


def test_what_can_be_shown_stays_as_it_is() -> None:
    fine = {"traceback": "line 1\n\tline 2", "größe": ["味", 1.5, None, True, 2**60]}
    assert storable(fine) == fine


def test_its_example_holds() -> None:
    assert doctest.testmod(module).failed == 0
