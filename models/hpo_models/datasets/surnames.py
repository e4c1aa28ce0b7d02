"""`surnames`: surnames in Latin script and their language, one of 15, from the package mimesis.

Names that stand in more than one language are dropped, then each language keeps at most 600.
Split about 3,560 / 1,190 / 1,340; the test names are the same for every seed.  A quarter of the
rest validates: with fewer names the best of many trials would be the luckiest one.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path

from hpo.extras import need
from hpo.model import Data
from hpo_models.datasets.split import text_data

LANGUAGES = [
    "cs",
    "da",
    "de",
    "en",
    "es",
    "fi",
    "fr",
    "hu",
    "it",
    "nl",
    "no",
    "pl",
    "pt",
    "sv",
    "tr",
]
_MOST = 600
_LONGEST = 64
"""Characters of a name."""
_TESTED, _VALIDATED = 22, 25
"""Per cent of the names, and of the rest."""


def load(argument: str, seed: int) -> Data:
    """Codes [N, L] int64 of the names' characters, targets [N] int64."""
    folder = need("mimesis", "data: surnames") / "datasets"  # importing mimesis is not needed
    names_of = {language: _names(folder / language / "person.json") for language in LANGUAGES}
    n_languages = Counter(name for names in names_of.values() for name in names)
    rows: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    for target, names in enumerate(names_of.values()):
        distinct = [name for name in names if n_languages[name] == 1]
        for name in sorted(distinct, key=lambda name: (_hash("keep", name), name))[:_MOST]:
            rows[_part(name, seed)].append((name, target))
    parts = [([name for name, _ in part], [k for _, k in part]) for part in rows.values()]
    return text_data("surnames", parts, LANGUAGES, _LONGEST)


def _names(file: Path) -> set[str]:
    """A language's surnames; some languages list them by gender."""
    surnames = json.loads(file.read_text(encoding="utf-8"))["surnames"]
    lists = surnames.values() if isinstance(surnames, dict) else [surnames]
    return {name for names in lists for name in names}


def _part(name: str, seed: int) -> str:
    if _hash("test", name) % 100 < _TESTED:
        return "test"
    return "val" if _hash(f"val {seed}", name) % 100 < _VALIDATED else "train"


def _hash(purpose: str, name: str) -> int:
    return zlib.crc32(f"{purpose}:{name}".encode())
