"""`cldr`: what a name is of (a territory, a language, a currency...), in 21 languages, from babel.

Names in eight languages are learned from; the test is zero-shot: names in thirteen others, without
any that looks like a learned one.  Names of two kinds are dropped.  The parts of the eight are
split by what is named: the validation rows name what was not learned under any name.
Source: Unicode CLDR, Unicode licence.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hpo.extras import need
from hpo.model import Data
from hpo_models.text import encode, vocabulary_of

LEARNED = ("en", "de", "fr", "es", "pl", "ru", "sv", "tr")
TESTED = ("da", "no", "pt", "it", "nl", "sw", "id", "et", "fi", "hu", "uk", "cs", "el")
KINDS = ("territory", "language", "currency", "script", "unit", "city", "timezone")
MAX_LENGTH = 48
"""Characters of a name; few are longer."""
_VALIDATED = 15
"""Per cent of what is named."""


def load(argument: str, seed: int) -> Data:
    """Codes [N, L] of the names, targets [N], codes [N, L] of the same in another language.

    The third column is of the training languages; where there is no other name (and in the test)
    it repeats the first.
    """
    need("babel", "data: cldr")
    names = {language: list(_names(language)) for language in (*LEARNED, *TESTED)}
    kinds = defaultdict(set)
    for rows in names.values():
        for kind, _, text in rows:
            kinds[text].add(kind)
    of_code: dict[tuple[str, str], list[str]] = defaultdict(list)
    for language in LEARNED:
        for kind, code, text in names[language]:
            if len(kinds[text]) == 1 and text not in of_code[kind, code]:
                of_code[kind, code].append(text)
    parts: dict[str, dict[str, tuple[str, str]]] = {"train": {}, "val": {}, "test": {}}
    held_out = {key for key in of_code if _hash(seed, key) % 100 < _VALIDATED}
    # What is not held out comes first: of two things of one name, the name stays in training.
    for key in sorted(of_code, key=lambda key: (key in held_out, key)):
        texts = of_code[key]
        for k, text in enumerate(texts):
            if text not in parts["train"]:
                other = texts[(k + 1 + _hash(seed, text) % max(1, len(texts) - 1)) % len(texts)]
                parts["val" if key in held_out else "train"].setdefault(text, (key[0], other))
    for language in TESTED:
        for kind, _, text in names[language]:
            if len(kinds[text]) == 1 and text not in parts["train"] and text not in parts["val"]:
                parts["test"].setdefault(text, (kind, text))
    vocabulary = vocabulary_of(text for part in parts.values() for text in part)
    train, val, test = (_tensors(part, vocabulary) for part in parts.values())
    info = {
        "n_classes": len(KINDS),
        "class_names": list(KINDS),
        "vocabulary": vocabulary,
        "max_length": MAX_LENGTH,
    }
    return Data("cldr", train, val, test, info)


def _tensors(part: dict[str, tuple[str, str]], vocabulary: str) -> tuple[Tensor, ...]:
    others = [other for _, other in part.values()]
    return (
        encode(list(part), vocabulary, MAX_LENGTH),
        torch.tensor([KINDS.index(kind) for kind, _ in part.values()]),
        encode(others, vocabulary, MAX_LENGTH),
    )


def _names(language: str) -> Iterator[tuple[str, str, str]]:
    """(kind, CLDR's code, name) of everything that has a name in the language."""
    from babel import Locale

    locale = Locale.parse(language)
    tables: dict[str, Any] = {
        "territory": locale.territories,
        "language": locale.languages,
        "currency": locale.currencies,
        "script": locale.scripts,
        "unit": {c: _long(v).get("displayName") for c, v in locale.unit_display_names.items()},
        "city": {code: zone.get("city") for code, zone in locale.time_zones.items()},
        "timezone": {
            f"{code} {form}": text
            for code, zone in locale.meta_zones.items()
            for form, text in zone.get("long", {}).items()
        },
    }
    for kind, table in tables.items():
        for code, text in sorted(table.items()):
            if isinstance(text, str) and any(map(str.isalpha, text)):
                yield kind, code, text


def _long(forms: Any) -> dict[str, str]:
    """A unit's names in full, in babel's form or CLDR's."""
    named = forms.get("long", {}) if hasattr(forms, "get") else {}
    return {"displayName": named} if isinstance(named, str) else dict(named)


def _hash(seed: int, key: object) -> int:
    return zlib.crc32(f"{seed} {key}".encode())
