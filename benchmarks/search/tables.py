"""Conditional tables: every cell of a conditional space, trained once with scikit-learn.

    nice python benchmarks/search/tables.py            # makes all, about ten minutes on two cores

A choice of model, and hyperparameters that only this model has; the support vector machine has a
kernel on top, whose own parameters depend on it in turn.  Classification (digits, breast_cancer)
is scored by log loss over three stratified folds, class probabilities clipped to 0.001;
regression (diabetes) by mean squared error over five folds, in units of the target's variance.
Exponents and counts are integers, as an `Int` each: `svm_log2_c=3` is C = 8.
"""

from __future__ import annotations

import csv
import multiprocessing
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpo.space import Choice, Int, Space

FOLDER = Path(__file__).resolve().parent / "tables"
N_DIGITS = 900
"""Rows of digits that are used: all 1,797 would take four times as long."""

CLASSIFIERS = Space(
    model=Choice("svm", "knn", "logistic", "forest"),
    svm_kernel=Choice("rbf", "poly", "linear", when={"model": "svm"}),
    svm_log2_c=Int(-3, 8, when={"model": "svm"}),
    svm_log2_gamma=Int(-11, -2, when={"svm_kernel": ("rbf", "poly")}),
    svm_degree=Int(2, 4, when={"svm_kernel": "poly"}),
    knn_neighbours=Int(1, 25, when={"model": "knn"}),
    knn_weights=Choice("uniform", "distance", when={"model": "knn"}),
    knn_metric=Choice("manhattan", "euclidean", "cosine", when={"model": "knn"}),
    logistic_penalty=Choice("l2", "l1", "elasticnet", when={"model": "logistic"}),
    logistic_log2_alpha=Int(-16, -1, when={"model": "logistic"}),
    logistic_l1_tenths=Int(1, 9, step=2, when={"logistic_penalty": "elasticnet"}),
    forest_depth=Int(2, 12, step=2, when={"model": "forest"}),
    forest_feature_eighths=Int(1, 8, when={"model": "forest"}),
    forest_leaf=Int(1, 4, when={"model": "forest"}),
)
REGRESSORS = Space(
    model=Choice("kernel_ridge", "boosting", "knn", "linear"),
    ridge_kernel=Choice("rbf", "laplacian", "poly", when={"model": "kernel_ridge"}),
    ridge_log2_alpha=Int(-8, 5, when={"model": "kernel_ridge"}),
    ridge_log2_gamma=Int(-12, 0, when={"model": "kernel_ridge"}),
    ridge_degree=Int(2, 3, when={"ridge_kernel": "poly"}),
    boosting_log2_trees=Int(3, 8, when={"model": "boosting"}),
    boosting_log2_rate=Int(-6, -1, when={"model": "boosting"}),
    boosting_depth=Int(1, 5, when={"model": "boosting"}),
    boosting_sample_quarters=Int(2, 4, when={"model": "boosting"}),
    knn_neighbours=Int(1, 40, when={"model": "knn"}),
    knn_weights=Choice("uniform", "distance", when={"model": "knn"}),
    knn_metric=Choice("manhattan", "euclidean", when={"model": "knn"}),
    linear_penalty=Choice("ridge", "lasso", "elasticnet", when={"model": "linear"}),
    linear_log2_alpha=Int(-12, 6, when={"model": "linear"}),
    linear_l1_tenths=Int(1, 9, step=2, when={"linear_penalty": "elasticnet"}),
)
DATA_SETS = {"digits": CLASSIFIERS, "breast_cancer": CLASSIFIERS, "diabetes": REGRESSORS}


def load(name: str) -> tuple[Space, dict[str, float]]:
    """The space of a table and its losses by `Space.key`."""
    space = DATA_SETS[name]
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        rows = [float(row["loss"]) for row in csv.DictReader(file)]
    return space, dict(zip(map(space.key, space.grid()), rows, strict=True))


def write(name: str, losses: list[float]) -> None:
    """A line a cell in the order of `Space.grid`; parameters that are not active are empty."""
    space = DATA_SETS[name]
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*space.names, "loss"])
        for cell, loss in zip(space.grid(), losses, strict=True):
            writer.writerow([*(cell.get(key, "") for key in space.names), f"{loss:.6g}"])


def classifier(p: Mapping[str, Any]) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import SGDClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    if p["model"] == "svm":
        # The unused gamma and degree of the other kernels stay at scikit-learn's defaults.
        own = {"gamma": 2.0 ** p["svm_log2_gamma"]} if "svm_log2_gamma" in p else {}
        own |= {"degree": p["svm_degree"]} if "svm_degree" in p else {}
        machine = SVC(
            kernel=p["svm_kernel"], C=2.0 ** p["svm_log2_c"], max_iter=20_000, coef0=1.0, **own
        )
        return CalibratedClassifierCV(machine, cv=3, ensemble=False)
    if p["model"] == "knn":
        return KNeighborsClassifier(
            p["knn_neighbours"], weights=p["knn_weights"], metric=p["knn_metric"]
        )
    if p["model"] == "logistic":
        return SGDClassifier(
            loss="log_loss",
            penalty=p["logistic_penalty"],
            alpha=2.0 ** p["logistic_log2_alpha"],
            l1_ratio=p.get("logistic_l1_tenths", 5) / 10,
            random_state=0,
        )
    return RandomForestClassifier(
        40,
        max_depth=p["forest_depth"],
        max_features=p["forest_feature_eighths"] / 8,
        min_samples_leaf=p["forest_leaf"],
        random_state=0,
    )


def regressor(p: Mapping[str, Any]) -> Any:
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import ElasticNet, Lasso, Ridge
    from sklearn.neighbors import KNeighborsRegressor

    if p["model"] == "kernel_ridge":
        return KernelRidge(
            kernel=p["ridge_kernel"],
            alpha=2.0 ** p["ridge_log2_alpha"],
            gamma=2.0 ** p["ridge_log2_gamma"],
            degree=p.get("ridge_degree", 3),
        )
    if p["model"] == "boosting":
        return GradientBoostingRegressor(
            n_estimators=2 ** p["boosting_log2_trees"],
            learning_rate=2.0 ** p["boosting_log2_rate"],
            max_depth=p["boosting_depth"],
            subsample=p["boosting_sample_quarters"] / 4,
            random_state=0,
        )
    if p["model"] == "knn":
        return KNeighborsRegressor(
            p["knn_neighbours"], weights=p["knn_weights"], metric=p["knn_metric"]
        )
    alpha = 2.0 ** p["linear_log2_alpha"]
    if p["linear_penalty"] == "elasticnet":
        return ElasticNet(alpha, l1_ratio=p["linear_l1_tenths"] / 10)
    return Ridge(alpha) if p["linear_penalty"] == "ridge" else Lasso(alpha)


def loss_of(name: str, params: Mapping[str, Any]) -> float:
    """Trains one cell."""
    import numpy as np
    from sklearn import datasets
    from sklearn.metrics import log_loss
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some cells do not converge: that is their loss.
        if name == "diabetes":
            y = (y - y.mean()) / y.std()
            net = make_pipeline(StandardScaler(), regressor(params))
            folds = KFold(5, shuffle=True, random_state=0)
            return float(np.mean((cross_val_predict(net, x, y, cv=folds) - y) ** 2))
        x, y = x[:N_DIGITS], y[:N_DIGITS]
        net = make_pipeline(StandardScaler(), classifier(params))
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        shares = cross_val_predict(net, x, y, cv=folds, method="predict_proba")
    shares = np.clip(shares, 1e-3, None)
    return float(log_loss(y, shares / shares.sum(axis=1, keepdims=True)))


def main(names: list[str]) -> None:
    for name in names or DATA_SETS:
        cells = DATA_SETS[name].grid()
        with multiprocessing.Pool(2) as pool:
            losses = pool.map(partial(loss_of, name), cells, chunksize=8)
        write(name, losses)
        print(f"{name}: {len(cells)} cells, best {min(losses):.4g}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
