"""Every model's ready study beside a plain baseline: the README's table.

    python benchmarks/zoo.py [--only rnn --only vae] [--folder zoo-runs]
    python benchmarks/zoo.py --baselines          # these alone, a minute or two
    python benchmarks/zoo.py --record      # what is done, to benchmarks/zoo and docs/models

Each study runs as `hpo run --study NAME` in one SQLite file in the folder, so that what was cut off
goes on when the command is given again; models that are done are only printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
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
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, `benchmarks` is not to be found by itself
RECORDS, PAGES = ROOT / "benchmarks" / "zoo", ROOT / "docs" / "models"
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
    score = logistic().fit(x, y).score(*_pixels(data.test))
    return f"logistic regression on pixels, {N_LABELS} labels a class", score


def _texts(split: Any, info: Any) -> tuple[list[str], np.ndarray]:
    from hpo_models.text import decode

    return decode(split[0], info["vocabulary"]), split[1].numpy()


def logistic(**options: Any) -> Any:
    """Logistic regression that is run to its end."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, **options)


def pixel_regression(data: Any) -> tuple[str, float]:
    """Logistic regression on the pixels, training and validation rows."""
    x, y = _pixels(data.for_retraining().train)
    return "logistic regression on pixels", logistic().fit(x, y).score(*_pixels(data.test))


def ngrams() -> Any:
    """TF-IDF of character n-grams, and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
        logistic(C=10.0),
    )


def ngram_regression(data: Any) -> tuple[str, float]:
    """TF-IDF of character n-grams, and logistic regression."""
    x, y = _texts(data.for_retraining().train, data.info)
    score = ngrams().fit(x, y).score(*_texts(data.test, data.info))
    return "regression on character n-grams", score


def few_ngram_regression(data: Any) -> tuple[str, float]:
    """Regression on the n-grams of the rows whose labels the probe sees; all texts for TF-IDF."""
    from hpo_models.probe import N_LABELS, first_rows

    weights, regression = ngrams().named_steps.values()
    weights.fit(_texts(data.train, data.info)[0])
    x, y = _texts(first_rows(data.train[:2], data.info["n_classes"]), data.info)
    regression.fit(weights.transform(x), y)
    x, y = _texts(data.test, data.info)
    score = regression.score(weights.transform(x), y)
    return f"regression on character n-grams, {N_LABELS} labels a class", score


def frozen_features(data: Any, codes: Any) -> np.ndarray:
    """The pretrained network's mean features of texts [N, L], which stay as they are, [N, D]."""
    import torch

    from hpo.registry import find_model, load_model

    model = load_model(find_model("finetune"))
    params = {**model.space.default(), "adapt": "frozen", "pooling": "mean"}
    net: Any = model.build(params, data).eval()
    size = net.head.in_features
    net.head = torch.nn.Linear(size, size, bias=False)
    torch.nn.init.eye_(net.head.weight)  # the network's output is its features
    with torch.no_grad():
        parts = [net(part) for part in codes.split(64)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()


def frozen_regression(data: Any) -> tuple[str, float]:
    """Regression on the features of the network that `finetune` adapts."""
    known = data.for_retraining().train
    regression = logistic(C=10.0).fit(frozen_features(data, known[0]), known[1].numpy())
    score = regression.score(frozen_features(data, data.test[0]), data.test[1].numpy())
    return "regression on frozen MiniLM features", score


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
    "finetune": frozen_regression,
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
    kept = folder / f"{name}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    clock = folder / f"{name}.seconds"
    before = float(clock.read_text()) if clock.exists() else 0.0
    clock.write_text(str(before + run_study(STUDIES[name], folder)))
    found = describe(name, folder, float(clock.read_text()) / 60)
    kept.write_text(json.dumps(found, indent=1))
    return found


def describe(name: str, folder: Path, minutes: float) -> dict[str, Any]:
    """What a finished study came to, as plain data."""
    from hpo.outcome.artifact import read
    from hpo.storage.ledger import Ledger
    from hpo.storage.sql import open_storage, resolve_url

    storage = open_storage(resolve_url(str(folder / "hpo.db")), create=False)
    ledger = Ledger.open(storage, STUDIES[name])
    path = Path((ledger.attr("hpo:retrained") or {})["path"])
    facts = read(path)
    default = next((c for c in facts.confirmed if c["default"]), None)
    return {
        "model": name,
        "study": STUDIES[name],
        "data": facts.data,
        "metric": facts.metric,
        "direction": facts.direction,
        "baseline": baseline(name),
        "default": {"runs": default["runs"] if default else [], "test": facts.default_test},
        "best": {"runs": facts.confirmed[0]["runs"], "test": facts.test},
        "searched": facts.searched,
        "trial": facts.trial,
        "verdict": facts.verdict,
        "n_test": facts.info.get("n_test"),
        "trials": ledger.counts(),
        "epochs": facts.study["epochs"],
        "sampler": facts.study["sampler"],
        "params": facts.params,
        "versions": facts.versions,
        "minutes": minutes,
        "path": str(path),
    }


def line(found: dict[str, Any]) -> str:
    """A row of Markdown."""
    from benchmarks.zoo_page import confirmed
    from hpo.outcome.artifact import interval_text

    metric, n_test = found["metric"], int(found["n_test"] or 0)
    plain, test = found["baseline"], found["best"]["test"]
    others = ", ".join(f"{k} {v:.3g}" for k, v in test.items() if k not in (metric, "loss"))
    cells = (
        f"[{found['model']}](docs/models/{found['model']}.md)",
        found["data"],
        metric,
        f"{plain[1]:.3f} ({plain[0]})" if plain else "-",
        confirmed(found, "default"),
        confirmed(found, "best"),
        interval_text(metric, found["default"]["test"][metric], n_test),
        interval_text(metric, test[metric], n_test),
        others,
        str(sum(found["trials"].values())),
        f"{found['minutes']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "model | data | metric | baseline's test | default, 3 seeds (validation) | best, 3 seeds "
    "(validation) | default's test | best's test | other test metrics | trials | minutes"
)


def table(rows: list[dict[str, Any]]) -> str:
    """The README's table."""
    lines = [f"| {HEAD} |", "|" + "---|" * (HEAD.count("|") + 1)]
    return "\n".join([*lines, *map(line, rows)])


def record(name: str, folder: Path) -> None:
    """Copies a model's result and pictures into the checkout and writes its page."""
    from benchmarks.zoo_page import page

    found = row(name, folder)
    RECORDS.mkdir(parents=True, exist_ok=True)
    PAGES.mkdir(parents=True, exist_ok=True)
    files = []
    for file in sorted(Path(found.pop("path")).iterdir()):
        if file.name not in ("README.md", "model.json", "weights.safetensors"):
            files.append(f"{name}-{file.name}")
            shutil.copyfile(file, PAGES / files[-1])
    (RECORDS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (PAGES / f"{name}.md").write_text(page(found, files))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=STUDIES, action="append")
    parser.add_argument("--folder", type=Path, default=Path("zoo-runs"))
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    names = args.only or list(STUDIES)
    if args.baselines:
        for name in names:
            found = baseline(name)
            print(f"{name}: " + (f"{found[1]:.4f} ({found[0]})" if found else "its default"))
        return
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if args.record:
        for name in names:
            if (folder / f"{name}.json").exists():
                record(name, folder)
        kept = [RECORDS / f"{name}.json" for name in STUDIES]
        print(table([json.loads(file.read_text()) for file in kept if file.exists()]))
        return
    rows = []
    for name in names:
        rows.append(row(name, folder))
        print(line(rows[-1]), file=sys.stderr)
    print(table(rows))


if __name__ == "__main__":
    main()
