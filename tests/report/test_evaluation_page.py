"""The page of an evaluation: whatever the model, and what a browser makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo import SpecError
from hpo.outcome.classified import classify
from hpo.outcome.evaluated import Evaluated, evaluate_artifact
from hpo.report import evaluation_plots as plots
from hpo.report.evaluation_page import check_folder, evaluation_page, picture, write_evaluation
from tests.report.studies import EVIL
from tests.report.test_study_report import CHROMIUM, CONTRAST, problems_of


@pytest.fixture(scope="module")
def evaluated(cnn: Path, captioner: Path, vae: Path) -> dict[str, Evaluated]:
    paths = {"cnn": cnn, "captioner": captioner, "vae": vae}
    return {name: evaluate_artifact(path, n_resamples=100) for name, path in paths.items()}


TITLES = {
    "cnn": [
        "Measures",
        "Classes",
        "Confusion",
        "Calibration",
        "ROC curves",
        "Precision and recall",
        "Hardest rows",
    ],
    "captioner": ["Measures", "What the network makes of the rows", "Losses", "Hardest rows"],
    "vae": ["Measures", "What the network makes of the rows", "Losses", "Hardest rows"],
}


@pytest.mark.parametrize("name", list(TITLES))
def test_each_kind_of_model_has_its_sections(name: str, evaluated: dict[str, Evaluated]) -> None:
    page = evaluation_page(evaluated[name])
    assert [section.title for section in page.sections] == TITLES[name]
    assert any("makes them validation rows" in line for line in page.summary)
    pictures = page.sections[-1].images
    n_test = evaluated[name].evaluation.n_rows
    assert len(pictures) == min(24, n_test)
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())
    if name != "vae":
        assert all("true: " in alt and "predicted: " in alt for alt in pictures)


def test_three_files_are_written_and_the_rows_are_all_there(
    evaluated: dict[str, Evaluated], tmp_path: Path
) -> None:
    found = evaluated["cnn"]
    page = write_evaluation(found, tmp_path / "a" / "b")
    names = {"report.html", "evaluation.json", "predictions.csv"}
    assert {file.name for file in page.parent.iterdir()} == names
    table = pd.read_csv(page.parent / "predictions.csv", dtype={"true": str, "predicted": str})
    assert list(table) == ["row", "true", "predicted", "probability", "loss"]
    facts = json.loads((page.parent / "evaluation.json").read_text())
    assert len(table) == facts["n_rows"]
    assert (table["true"] == table["predicted"]).mean() == pytest.approx(
        facts["metrics"]["accuracy"]["value"]
    )
    assert table["loss"].mean() == pytest.approx(facts["metrics"]["log_loss"]["value"])


def test_only_an_earlier_evaluation_is_replaced_and_other_files_stay(
    evaluated: dict[str, Evaluated], tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(SpecError, match="is not empty and holds no evaluation"):
        check_folder(tmp_path)
    folder = tmp_path / "evaluation"
    check_folder(folder)
    write_evaluation(evaluated["vae"], folder)
    (folder / "notes.md").write_text("mine")
    check_folder(folder)
    write_evaluation(replace(evaluated["vae"], times=2), folder)
    assert (folder / "notes.md").read_text() == "mine"
    assert json.loads((folder / "evaluation.json").read_text())["times"] == 2
    assert "evaluated on them 2 times" in (folder / "report.html").read_text()
    assert len(list(folder.iterdir())) == 4


def many(n: int, k: int, name: str = "class") -> Any:
    rng = np.random.default_rng(0)
    targets = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + 2 * np.eye(k)[targets]
    return classify(logits, targets, [f"{name} {c}" for c in range(k)], 100)


def test_many_classes_are_drawn_as_far_as_one_can_see_them() -> None:
    found = many(600, 60)
    assert len(plots.drawn_classes(found)) == plots.MOST_CURVES
    areas = {row["class"]: row["roc_auc"] for row in found.classes}
    drawn = [areas[found.class_names[k]] for k in plots.drawn_classes(found)]
    assert drawn == sorted(areas.values())[: plots.MOST_CURVES]
    assert len(plots.by_class(found).data[0].x) == plots.MOST_CONFUSED
    cells = plots.confusion(many(300, 12)).data
    assert sum(int(text) for text in cells[1].text) == 300


def test_pictures_of_any_scale_and_channels_are_drawn() -> None:
    from io import BytesIO

    from PIL import Image

    rng = np.random.default_rng(0)
    for shape in ((1, 28, 28), (3, 32, 20), (5, 8, 8), (2, 300, 400), (1, 1, 1)):
        image = Image.open(BytesIO(picture(rng.normal(size=shape).astype("float32"))))
        assert image.mode == "RGB" and max(image.size) <= 224
    flat = Image.open(BytesIO(picture(np.full((1, 4, 4), 7.0))))
    assert flat.getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_browser_shows_it_without_an_error_or_a_request(
    evaluated: dict[str, Evaluated], tmp_path: Path, width: int, scheme: Any
) -> None:
    from playwright.sync_api import sync_playwright

    found = evaluated["cnn"]
    evil = many(90, 3, EVIL)
    hostile = replace(
        found,
        evaluation=replace(
            found.evaluation,
            classified=evil,
            rows={"loss": evil.losses, "true": [EVIL] * 90, "predicted": [EVIL] * 90},
            n_rows=90,
        ),
    )
    pages = {**evaluated, "hostile": hostile}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, one in pages.items():
            path = write_evaluation(one, tmp_path / name)
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            problems = problems_of(page)
            page.goto(path.as_uri())
            drawn = page.locator(".plot")
            for k in range(drawn.count()):
                drawn.nth(k).scroll_into_view_if_needed()
                page.wait_for_function(
                    "k => document.querySelectorAll('.plot')[k].querySelector('.main-svg')", arg=k
                )
            assert problems == [], name
            assert drawn.count() == sum(s.figure is not None for s in evaluation_page(one).sections)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert all(drawn.nth(k).get_attribute("aria-label") for k in range(drawn.count()))
            assert page.evaluate("[...document.images].every((i) => i.alt && i.naturalWidth)")
            assert page.evaluate(CONTRAST) >= 4.5
            page.close()
        browser.close()
