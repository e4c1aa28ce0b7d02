"""`topics`: English utterances and what they are about, 11 topics, from chatterbot-corpus 1.3.3.

An exchange stays in one part: replies repeat the words of what they answer.  Utterances that stand
under two topics are dropped, topics of fewer than 46 different utterances too.  About 920 training,
300 validation and 410 test rows; the test rows are the same for every seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from hpo.extras import need
from hpo.model import Data
from hpo_models.datasets.split import text_data

MAX_LENGTH = 160
"""Characters of an utterance; some answers hold programs."""
_FEWEST = 46


def load(argument: str, seed: int) -> Data:
    """Codes [N, L] int64 of the utterances' characters, targets [N] int64."""
    texts, targets, exchanges, topics = rows_of()
    rest, tested = _split(np.arange(len(texts)), targets, exchanges, 0)
    learned, validated = _split(rest, targets, exchanges, seed)
    parts = [
        ([texts[k] for k in part], [targets[k] for k in part])
        for part in (learned, validated, tested)
    ]
    return text_data("topics", parts, topics, MAX_LENGTH)


def rows_of() -> tuple[list[str], list[int], list[str], list[str]]:
    """Utterances, their targets, the first utterances of their exchanges; the topics' names."""
    folder = need("chatterbot_corpus", "data: topics") / "data" / "english"
    found = {file.stem: dict(_utterances(file)) for file in sorted(folder.glob("*.yml"))}
    found = {topic: texts for topic, texts in found.items() if len(texts) >= _FEWEST}
    n_topics = Counter(text for texts in found.values() for text in texts)
    rows = [
        (text, target, exchange)
        for target, texts in enumerate(found.values())
        for text, exchange in texts.items()
        if n_topics[text] == 1
    ]
    texts, targets, exchanges = (list(column) for column in zip(*rows, strict=True))
    return texts, targets, exchanges, list(found)


def _utterances(file: Path) -> Iterator[tuple[str, str]]:
    """(utterance in lower case, first utterance of its exchange)."""
    for exchange in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
        texts = [" ".join(str(text).lower().split()) for text in exchange]
        yield from ((text, texts[0]) for text in texts if text)


def _split(
    rows: np.ndarray, targets: list[int], exchanges: list[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Three quarters of the rows, and the rest: of each topic about as much, exchanges whole."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
    y, groups = np.array(targets)[rows], np.array(exchanges)[rows]
    kept, fold = next(folds.split(rows, y, groups))
    return rows[kept], rows[fold]
