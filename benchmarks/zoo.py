"""Every model's ready study beside a plain baseline: the README's table.

    python benchmarks/zoo.py [--only rnn --only vae] [--folder zoo-runs]
    python benchmarks/zoo.py --baselines          # these alone, a minute or two

Each study runs as `hpo run --study NAME` in one SQLite file in the folder, so that what was cut off
goes on when the command is given again; models that are done are only printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_NAMED_AS_THE_MODEL = (
    "rnn",
    "vae",
    "gan",
    "ssl-image",
    "ssl-text",
    "cross-lingual",
    "captioner",
    "retrieval",
    "finetune",
)
STUDIES = {"cnn": "cnn-digits"} | {name: name for name in _NAMED_AS_THE_MODEL}


def _pixels(split: Any) -> tuple[np.ndarray, np.ndarray]:
    return split[0].flatten(1).numpy(), split[1].numpy()


def pca(data: Any) -> tuple[str, float]:
    """Mean squared error a pixel of 16 principal components; the VAE's objective is another."""
    from sklearn.decomposition import PCA

    model = PCA(16, random_state=0).fit(_pixels(data.for_retraining().train)[0])
    x, _ = _pixels(data.test)
    error = (model.inverse_transform(model.transform(x)) - x) ** 2
    return "mse of 16 principal components", float(error.mean())


def few_pixel_regression(data: Any) -> tuple[str, float]:
    """Logistic regression on the pixels of the rows whose labels the probe sees."""
    from hpo_models.probe import N_LABELS, first_rows

    x, y = _pixels(first_rows(data.train, data.info["n_classes"]))
    score = _logistic().fit(x, y).score(*_pixels(data.test))
    return f"logistic regression on pixels, {N_LABELS} labels a class", score


def _texts(split: Any, info: Any) -> tuple[list[str], np.ndarray]:
    from hpo_models.text import decode

    return decode(split[0], info["vocabulary"]), split[1].numpy()


def _logistic(**options: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, **options)


def pixel_regression(data: Any) -> tuple[str, float]:
    """Logistic regression on the pixels, training and validation rows."""
    x, y = _pixels(data.for_retraining().train)
    return "logistic regression on pixels", _logistic().fit(x, y).score(*_pixels(data.test))


def _ngrams() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
        _logistic(C=10.0),
    )


def ngram_regression(data: Any) -> tuple[str, float]:
    """TF-IDF of character n-grams, and logistic regression."""
    x, y = _texts(data.for_retraining().train, data.info)
    score = _ngrams().fit(x, y).score(*_texts(data.test, data.info))
    return "regression on character n-grams", score


def few_ngram_regression(data: Any) -> tuple[str, float]:
    """Regression on the n-grams of the rows whose labels the probe sees; all texts for TF-IDF."""
    from hpo_models.probe import N_LABELS, first_rows

    weights, regression = _ngrams().named_steps.values()
    weights.fit(_texts(data.train, data.info)[0])
    x, y = _texts(first_rows(data.train[:2], data.info["n_classes"]), data.info)
    regression.fit(weights.transform(x), y)
    x, y = _texts(data.test, data.info)
    score = regression.score(weights.transform(x), y)
    return f"regression on character n-grams, {N_LABELS} labels a class", score


def constant_caption(data: Any) -> tuple[str, float]:
    """The caption that is best for all training images at once, of the 300 most frequent words."""
    from collections import Counter

    from hpo_models.captioner import word_f1
    from hpo_models.datasets.captions import texts_of

    known = texts_of(data.train[2])
    words = [word for word, _ in Counter(w for t in known for w in t.split()).most_common(300)]
    best = max(words, key=lambda word: sum(word_f1(word, text) for text in known))
    true = texts_of(data.test[2])
    return f"always {best!r}", sum(word_f1(best, text) for text in true) / len(true)


def chance_recall(data: Any) -> tuple[str, float]:
    """Ten of the test rows at random."""
    return "chance", 10 / len(data.test[0])


BASELINES: dict[str, Callable[[Any], tuple[str, float]]] = {
    "cnn": pixel_regression,
    "rnn": ngram_regression,
    "vae": pca,
    "ssl-image": few_pixel_regression,
    "ssl-text": few_ngram_regression,
    "cross-lingual": ngram_regression,
    "captioner": constant_caption,
    "retrieval": chance_recall,
    "finetune": ngram_regression,
}


def baseline(name: str) -> tuple[str, float] | None:
    """What it is, and its figure on the model's test split."""
    from hpo.registry import find_model, load_data, load_model

    if name not in BASELINES:
        return None
    model = load_model(find_model(name))
    return BASELINES[name](load_data(model, model.datasets[0], 0))


def run_study(name: str, folder: Path) -> float:
    """Runs or goes on with a ready study; seconds it took this time."""
    started = time.monotonic()
    place = ["--storage", str(folder / "hpo.db"), "--output", str(folder / "runs")]
    subprocess.run(
        [sys.executable, "-m", "hpo.cli", "run", "--study", name, *place], check=True, stdout=2
    )
    return time.monotonic() - started


def row(name: str, folder: Path) -> dict[str, Any]:
    """The model's line of the table, kept in the folder once its study is whole."""
    from hpo.outcome.artifact import read
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage, resolve_url

    kept = folder / f"{name}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    clock = folder / f"{name}.seconds"
    before = float(clock.read_text()) if clock.exists() else 0.0
    clock.write_text(str(before + run_study(STUDIES[name], folder)))
    storage = open_storage(resolve_url(str(folder / "hpo.db")), create=False)
    ledger = Ledger.open(storage, STUDIES[name])
    facts = read((ledger.attr("hpo:retrained") or {})["path"])
    values = facts.confirmed[0]["values"]
    found = {
        "model": name,
        "data": facts.data,
        "metric": facts.metric,
        "baseline": baseline(name),
        "default": facts.default_test,
        "searched": facts.searched,
        "confirmed": (float(np.mean(values)), float(np.std(values, ddof=1))),
        "test": facts.test,
        "n_test": facts.info.get("n_test"),
        "trials": ledger.counts(),
        "params": facts.params,
        "minutes": float(clock.read_text()) / 60,
    }
    kept.write_text(json.dumps(found, indent=1))
    return found


def line(found: dict[str, Any]) -> str:
    """A row of Markdown."""
    from hpo.outcome.artifact import interval_text

    metric, n_test = found["metric"], int(found["n_test"] or 0)
    plain = found["baseline"]
    mean, sd = found["confirmed"]
    others = ", ".join(
        f"{k} {v:.3g}" for k, v in found["test"].items() if k not in (metric, "loss")
    )
    cells = (
        found["model"],
        found["data"],
        metric,
        f"{plain[1]:.3f} ({plain[0]})" if plain else "-",
        f"{found['default'].get(metric, float('nan')):.4g}",
        f"{mean:.4g} ± {sd:.2g}",
        interval_text(metric, found["test"][metric], n_test),
        others,
        str(sum(found["trials"].values())),
        f"{found['minutes']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=STUDIES, action="append")
    parser.add_argument("--folder", type=Path, default=Path("zoo-runs"))
    parser.add_argument("--baselines", action="store_true")
    args = parser.parse_args()
    names = args.only or list(STUDIES)
    if args.baselines:
        for name in names:
            found = baseline(name)
            print(f"{name}: " + (f"{found[1]:.4f} ({found[0]})" if found else "its default"))
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    head = (
        "model | data | metric | baseline's test | default's test | best, confirmed on 3 seeds "
        "(validation) | its test | other test metrics | trials | minutes"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for name in names:
        lines.append(line(row(name, args.folder.resolve())))
        print(lines[-1], file=sys.stderr)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
