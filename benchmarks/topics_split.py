"""What a split of `topics` by utterance, instead of by exchange, would make of the same methods.

    python benchmarks/topics_split.py

Replies repeat the words of what they answer: with a question in the training rows and its answer
in the test rows, every figure is higher, and none is true of utterances to come.  Five folds of all
rows each way; regression on character n-grams and on frozen MiniLM features.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
N_FOLDS = 5


def main() -> None:
    from hpo_models.datasets.topics import rows_of
    from hpo_models.text import encode
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    from benchmarks.zoo import frozen_features, logistic, ngrams
    from hpo.registry import find_model, load_data, load_model

    texts, targets, exchanges, _ = rows_of()
    y = np.array(targets)
    model = load_model(find_model("finetune"))
    data = load_data(model, "topics", 0)
    assert data is not None
    codes = encode(texts, data.info["vocabulary"], data.info["max_length"])
    features = frozen_features(data, codes)
    methods: dict[str, tuple[Any, Any]] = {
        "character n-grams": (ngrams, np.array(texts)),
        "frozen MiniLM features": (lambda: logistic(C=10.0), features),
    }
    print("| regression on | by utterance (leaks) | by exchange |\n|---|---|---|")
    for name, (make, x) in methods.items():
        cells = []
        for folds, groups in ((StratifiedKFold, None), (StratifiedGroupKFold, exchanges)):
            split = folds(N_FOLDS, shuffle=True, random_state=0).split(x, y, groups)
            scores = [make().fit(x[a], y[a]).score(x[b], y[b]) for a, b in split]
            cells.append(f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
