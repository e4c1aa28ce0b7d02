"""What a name is of (a territory, a language, a currency...), in 21 languages, from babel.

`cldr`: eight languages are there to learn from; the test is zero-shot: names in thirteen others.
The validation rows are names in two of the eight, which the training rows leave out, so that a
search chooses by what it is tested by: transfer to languages that were not seen.  Retraining learns
from all eight.
`cldr-things`: the eight languages alone, split 70/15/15 by what is named, so that no part names
what another does; the test rows are the same for every seed.
No name stands in two parts, and names of two kinds are dropped.
Source: Unicode CLDR, Unicode licence.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from hpo.extras import need
from hpo.model import Data
from hpo_models.datasets.split import text_data
from hpo_models.text import encode

LEARNED = ("en", "de", "fr", "es", "pl", "ru", "sv", "tr")
TESTED = ("da", "no", "pt", "it", "nl", "sw", "id", "et", "fi", "hu", "uk", "cs", "el")
KINDS = ("territory", "language", "currency", "script", "unit", "city", "timezone")
_VALIDATED = (("es", "ru"), ("de", "pl"), ("fr", "tr"), ("en", "sv"))
"""By the split's seed, in turn.  The first pair has a relative among the tested languages for each
of the two scripts learned from."""
MAX_LENGTH = 48
"""Characters of a name; few are longer."""
_HELD_OUT = 15
"""Per cent of the things in the validation part, and in the test part."""


Names = dict[str, list[tuple[str, str, str]]]
"""Language -> (kind, CLDR's code, name), without names of two kinds."""
Part = dict[str, tuple[str, str]]
"""Name -> its kind, and another name of the same thing."""


def load(argument: str, seed: int) -> Data:
    """`cldr`: codes [N, L] of the names, targets [N], codes [N, L] of the same in another language.

    The third column is of the training languages; where there is no other name (and in the test)
    it repeats the first.
    """
    names = _names_of((*LEARNED, *TESTED))
    validated = _VALIDATED[seed % len(_VALIDATED)]
    trained = tuple(language for language in LEARNED if language not in validated)
    parts: list[Part] = []
    for languages, others in ((trained, trained), (validated, LEARNED), (TESTED, ())):
        parts.append({})
        parallel = _by_thing(names, others)
        for language in languages:
            for kind, code, text in names[language]:
                if not any(text in part for part in parts):
                    parts[-1][text] = (kind, _other(text, parallel[kind, code], seed))
    return _data("cldr", parts)


def load_things(argument: str, seed: int) -> Data:
    """`cldr-things`: the same columns; what is named decides the part."""
    parallel = _by_thing(_names_of(LEARNED), LEARNED)
    parts: list[Part] = [{}, {}, {}]
    for (kind, code), texts in parallel.items():
        k = 0
        if _hash("test", kind, code) % 100 < _HELD_OUT:
            k = 2
        elif _hash(seed, kind, code) % (100 - _HELD_OUT) < _HELD_OUT:
            k = 1
        for text in texts:
            if not any(text in part for part in parts):
                parts[k][text] = (kind, _other(text, texts, seed))
    # In no order: the first rows of a class would be names of one thing.
    mixed = [dict(sorted(part.items(), key=lambda row: _hash("order", row[0]))) for part in parts]
    return _data("cldr-things", mixed)


def _data(name: str, parts: Sequence[Part]) -> Data:
    rows = [(list(part), [KINDS.index(kind) for kind, _ in part.values()]) for part in parts]
    data = text_data(name, rows, KINDS, MAX_LENGTH)
    assert data.test is not None
    splits = []
    for split, part in zip((data.train, data.val, data.test), parts, strict=True):
        others = [other for _, other in part.values()]
        codes = encode(others, data.info["vocabulary"], data.info["max_length"])
        splits.append((*split, codes))
    train, val, test = splits
    return Data(name, train, val, test, data.info)


def _names_of(languages: Sequence[str]) -> Names:
    need("babel", "data: cldr")
    found = {language: list(_names(language)) for language in languages}
    kinds = defaultdict(set)
    for rows in found.values():
        for kind, _, text in rows:
            kinds[text].add(kind)
    return {
        language: [row for row in rows if len(kinds[row[2]]) == 1]
        for language, rows in found.items()
    }


def _by_thing(names: Names, languages: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """(kind, code) -> its different names in the languages."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for language in languages:
        for kind, code, text in names[language]:
            if text not in found[kind, code]:
                found[kind, code].append(text)
    return found


def _other(text: str, names: list[str], seed: int) -> str:
    """One of the names that is not the text, always the same one; the text if there is none."""
    others = [name for name in names if name != text] or [text]
    return others[_hash(seed, text) % len(others)]


def _hash(*of: object) -> int:
    return zlib.crc32(" ".join(map(str, of)).encode())


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
