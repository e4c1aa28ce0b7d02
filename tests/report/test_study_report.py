"""The page of one study: whatever its state, and what a browser makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpo import Choice, Float, Space, SpecError
from hpo.cli.report import report
from hpo.report.comparison import compare
from hpo.report.comparison_page import write_comparison
from hpo.report.contestants import Contestant
from hpo.report.study import cost, failures, good_region, importance, study_report
from hpo.report.study_page import facts_of, rerun_command, study_page, write_study
from tests.report.studies import EVIL, make

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hpo.db"


@pytest.mark.parametrize("states", ["", "C", "F", "FFF", "PPP", "R", "CPFLR", "C" * 30])
def test_a_study_in_any_state_has_a_page(url: str, tmp_path: Path, states: str) -> None:
    ledger = make(url, "s", len(states), states=states)
    write_study(ledger, tmp_path / "new folder" / "page.html")
    text = (tmp_path / "new folder" / "page.html").read_text()
    assert "Study s" in text and "NaN" not in text.split("plotly.js v")[0]
    facts = facts_of(study_report(ledger))
    assert sum(facts["trials"].values()) == len(states)


def test_a_table_that_a_model_wrote_of_test_rows_is_a_table(url: str, tmp_path: Path) -> None:
    ledger = make(url, "s", 3)
    (tmp_path / "near.md").write_text(
        "Nearest:\n| text | near |\n|---|---|\n| a \\| b | <b>c</b> |\n| d | e | f |\n"
    )
    ledger.set_attr("hpo:retrained", {"path": str(tmp_path), "trial": 0})
    write_study(ledger, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text().split("plotly.js v")[0]
    assert "|---|" not in text and "Nearest:" in text
    assert 'data-name="text">a | b</td>' in text and "&lt;b&gt;c&lt;/b&gt;" in text
    assert 'data-name="near">e | f</td>' in text


def test_the_page_says_which_way_and_counts_interrupted_trials_apart(
    url: str, tmp_path: Path
) -> None:
    ledger = make(url, "s", 5, states="CCFLC", direction="minimize")
    write_study(ledger, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text().split("plotly.js v")[0]
    assert "3 complete, 1 failed, 1 lost" in text
    assert "By their value in the search (minimize score)." in text


def test_csv_names_parameters_as_optunas_dataframe_does(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(url, "s", 3)
    report("s", storage=url, **{**QUIET, "form": "csv"})
    assert "params_lr" in capsys.readouterr().out.splitlines()[0].split(",")


@pytest.mark.parametrize("space", [Space(x=Float(0, 1)), Space(k=Choice("a", "b", None, 3))])
def test_small_spaces_have_a_page(url: str, tmp_path: Path, space: Space) -> None:
    write_study(make(url, "s", 4 if "k" in space else 12, space=space), tmp_path / "page.html")


def test_the_parameter_that_decides_is_the_most_important(url: str) -> None:
    ledger = make(url, "s", 0)
    for _ in range(40):
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, -abs(asked.params["width"] - 60) / 60)
    table = importance(ledger.trials())
    assert table["parameter"].iloc[0] == "width" and table["importance"].iloc[0] > 0.6
    assert (table["low"] <= table["importance"]).all() and (
        table["importance"] <= table["high"]
    ).all()
    assert importance([]).empty


def test_a_best_value_at_the_edge_is_named_with_the_edge(url: str) -> None:
    ledger = make(url, "s", 0)
    for _ in range(60):
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, asked.params["lr"])  # the larger the better
    report = study_report(ledger)
    assert len(report.warnings) == 1 and report.warnings[0].startswith("The best lr (")
    assert "upper edge of its range" in report.warnings[0]
    row = report.region.set_index("parameter").loc["lr"]
    assert float(row["the best 6 of 60"].split(" .. ")[0]) > 0.02
    assert good_region(ledger, report.frame.head(0), 1)[1] == []


def test_failures_are_grouped_and_cost_is_added_up(url: str) -> None:
    report = study_report(make(url, "s", 10, states="CCFFPL"))
    table = failures(report.frame)
    assert table[["kind", "n"]].to_numpy().tolist() == [["error", 2], ["lost", 1]]
    assert table["trials"].iloc[0] == "2, 3"
    spent = cost(report)
    assert spent["core hours"] == pytest.approx(10 / 3600) and spent["GPU hours"] == 0
    assert spent["epochs saved by pruning"] == 2


def test_a_long_study_stays_a_small_page(url: str, tmp_path: Path) -> None:
    import optuna

    ledger = make(url, "s", 30)
    trial = ledger.trials()[5]
    more = [
        optuna.trial.create_trial(
            value=0.5 + k / 5000,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values={e: 0.1 * e for e in range(1, 9)},
        )
        for k in range(1200)
    ]
    ledger.study.add_trials(more)
    write_study(ledger, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 5.6e6


def test_the_command_makes_the_study_again(url: str) -> None:
    report = study_report(make(url, "it's mine", 5))
    assert rerun_command(report) == (
        "hpo run --model m --data d --sampler random --n-trials 5 --epochs 3 --seed 0 "
        "--name 'it'\"'\"'s mine'"
    )
    assert any(section.title == "To do it again" for section in study_page(report).sections)


def test_the_command_keeps_a_direction_that_the_name_does_not_say(url: str) -> None:
    command = rerun_command(study_report(make(url, "turned", direction="minimize")))
    assert "--objective score:minimize" in command


def test_what_auto_chose_is_told(url: str, tmp_path: Path) -> None:
    view = make(url, "s", 3, sampler="auto")
    said = "gp: few, costly trials of a conditional space"
    write_study(view, tmp_path / "page.html")
    assert f"auto chose {said}." in (tmp_path / "page.html").read_text()
    (choice,) = facts_of(study_report(view))["sampler_choices"]
    assert f"{choice['sampler']}: {choice['reason']}" == said


def test_values_beyond_reason_have_a_page(url: str, tmp_path: Path) -> None:
    ledger = make(url, "s", 0)
    for k in range(12):
        asked = ledger.ask()
        assert asked is not None
        ledger.complete(asked.number, (-1) ** k * 1e308)
    write_study(ledger, tmp_path / "page.html")


def test_only_an_earlier_report_is_replaced(url: str, tmp_path: Path) -> None:
    make(url, "s", 3)
    (tmp_path / "notes.md").write_text("mine")
    for name in ("hpo.db", "notes.md"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(SpecError, match="exists and is no report"):
            report("s", to=tmp_path / name, storage=url, **{**QUIET, "form": "md"})
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(SpecError, match="exists and is no report"):
        report("s", to=Path("/dev/full"), storage=url, **QUIET)
    for _ in range(2):
        report("s", to=tmp_path / "page.html", storage=url, **QUIET)
        report("s", to=tmp_path / "page.md", storage=url, **{**QUIET, "form": "md"})


QUIET: dict[str, Any] = {"form": "html", "watch": None, "output": "hpo-runs", "open_": False}


def test_a_name_that_leads_elsewhere_needs_a_file(url: str, tmp_path: Path) -> None:
    make(url, "../up", 3)
    with pytest.raises(SpecError, match="name a file"):
        report("../up", to=None, storage=url, **{**QUIET, "output": str(tmp_path / "out")})
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("up*"))


@pytest.fixture
def pages(url: str, tmp_path: Path) -> dict[str, Path]:
    """A study's page and a comparison's, with hostile names."""
    study = make(url, EVIL.replace("/", "_"), 24, states="CPCFCC")
    write_study(study, tmp_path / "study.html")
    contestants = [
        Contestant(k, s, make(url, f"{k}-{s}", seed=s, level=level))
        for k, level in (("random", 0.8), ("tpe", 0.9), (EVIL, 0.85))
        for s in range(3)
    ]
    files, _ = write_comparison(compare(contestants), EVIL, tmp_path / "out")
    return {"study": tmp_path / "study.html", "comparison": files[0]}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_an_error_or_a_request(
    pages: dict[str, Path], width: int, scheme: Any
) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in pages.values():
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            problems = problems_of(page)
            page.goto(path.as_uri())
            plots = page.locator(".plot")
            for k in range(plots.count()):
                plots.nth(k).scroll_into_view_if_needed()
                page.wait_for_function(
                    "k => document.querySelectorAll('.plot')[k].querySelector('.main-svg')", arg=k
                )
            assert problems == []
            assert plots.count() >= 5
            # Nothing is wider than the screen, every picture has words, the focus can be seen.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert width > 400 or page.evaluate(CLIPPED) == []
            assert all(plots.nth(k).get_attribute("aria-label") for k in range(plots.count()))
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            assert page.evaluate(CONTRAST) >= 4.5
            page.close()
        browser.close()


def problems_of(page: Any) -> list[str]:
    """Fills up with console errors, exceptions, dialogs and requests that leave the page."""
    found: list[str] = []
    page.on("console", lambda m: found.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: found.append(str(e)))
    page.on("dialog", lambda d: found.append("a dialog: text was run as code"))
    inside = ("file:", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(inside) else found.append(r.url))
    return found


CLIPPED = """[...document.querySelectorAll(".scroll:has(table)")]
  .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.getAttribute("aria-label"))"""
CONTRAST = """() => {
  const parse = (c) => c.match(/[0-9.]+/g).slice(0, 3).map((v) => {
    v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  const ratio = (a, b) => { const [x, y] = [light(parse(a)), light(parse(b))];
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
  const card = getComputedStyle(document.querySelector("section")).backgroundColor;
  const of = (s) => getComputedStyle(document.querySelector(s)).color;
  const places = ["section p, section td", "figcaption", "nav a"];
  return Math.min(...places.map((s) => ratio(of(s), card)));
}"""
