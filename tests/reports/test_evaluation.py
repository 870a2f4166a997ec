"""Pages of evaluations and comparisons, and the model card: what they tell, and that hostile names and texts do nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.dataset.runs import record, run_id
from curate.evaluation.compare import compare, find_evaluation
from curate.evaluation.gates import judge, read_gate
from curate.evaluation.metrics import group_measures, measures
from curate.evaluation.result import RESULT, Items, write_items
from curate.jsontext import dumps
from curate.reports.card import collect_card
from curate.reports.comparison import build_comparison_page
from curate.reports.evaluation import build_evaluation_page
from curate.reports.report import build_run_report, find_target
from tests.reports.page import Page

HOSTILE = "<script>alert(1)</script>\u202e"


def evaluation(folder, shift=0.0, model="m" * 64):
    """Questions and texts with hostile groups, ids and tokens."""
    quiz = pa.table({
        "id": [f"{HOSTILE}{at}" for at in range(60)], "accuracy": [float(at % 3 > 0) for at in range(60)],
        "confidence": [min(0.99, 0.4 + at / 120 + shift) for at in range(60)], "kind": ["plain", HOSTILE] * 30,
    })  # fmt: skip
    pieces = [{"text": HOSTILE, "nats": 9.0, "tokens": 1}, {"text": " ann@example.org", "nats": 1.0, "tokens": 3}]
    held = pa.table({
        "id": [f"{HOSTILE}{at}" for at in range(30)], "nats": [100.0 + at + 30 * shift for at in range(30)],
        "bytes": [90] * 30, "pieces": [pieces, *([[]] * 29)],
    })  # fmt: skip
    tables, abouts = {"quiz": quiz, "held": held}, {}
    for task, table in tables.items():
        abouts[task] = {"definition": {"name": task, "kind": "choice"}, "data": "d", "model": model, "length": 64,
                        "by": ["kind"] if task == "quiz" else [], "source": HOSTILE, "split": "test"}  # fmt: skip
        write_items(folder, Items(task, table, abouts[task]))
    told = {task: {name: one.json() for name, one in measures(table).items()} for task, table in tables.items()}
    groups = {
        value: {name: one.json() for name, one in some.items()} for value, some in group_measures(quiz, "kind").items()
    }
    result = {"schema": 1, "model": HOSTILE, "identity": model, "weights": model, "length": 64, "tasks": told,
              "groups": {"quiz": {"kind": groups}},
              "warnings": [f"quiz: {HOSTILE}"], "about": abouts,
              "contamination": {"name": "books@v1", "tasks": {"quiz": {
                  "contaminated": 9, "n": 50, "too_short": 10, "share": {"value": 0.18, "low": 0.1, "high": 0.3, "n": 50},
                  "clean": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 41}}}}}}  # fmt: skip
    (folder / RESULT).write_bytes(dumps(result).encode())
    return find_evaluation(str(folder))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of an evaluation, and that of a comparison with gates."""
    folder = tmp_path_factory.mktemp("evaluations")
    one, other = evaluation(folder / f"small {HOSTILE[:8]}"), evaluation(folder / "other", 0.5, "o" * 64)
    found = compare([one, other])
    gates = judge([read_gate("accuracy better"), read_gate("bits_per_byte not worse than 50%")], found)
    return [
        build_evaluation_page(one, folder / "evaluation.html"),
        build_comparison_page(found, gates, folder / "comparison.html"),
    ]


def test_the_page_of_an_evaluation_tells_every_number_and_what_it_is(pages):
    told = Page(pages[0].read_text())
    for words in ("bits per byte", "calibration error", "confidence and accuracy", "quiz: accuracy by kind",
                  "9 of 50 items; 10 more", "over their bytes in UTF-8", "Costliest pieces", "13.0"):  # fmt: skip
        assert words in told.text, words
    assert not told.of("script") and "ann@example.org" not in pages[0].read_text()


def test_the_page_of_a_comparison_tells_verdicts_gates_and_limits(pages):
    told = Page(pages[1].read_text())
    for words in (
        "is worse than",
        "no difference is shown",
        "would be found in 8 of 10",
        "accuracy better not shown",
        "seed",
    ):
        assert words in told.text, words
    assert not told.of("script")


def test_equal_evaluations_give_equal_pages(pages, tmp_path):
    found = find_evaluation(str(pages[0].parent / f"small {HOSTILE[:8]}"))
    assert build_evaluation_page(found, tmp_path / "again.html").read_bytes() == pages[0].read_bytes()


@pytest.fixture
def card(trained, tmp_path):
    """The card of a run with an evaluation on record, and one of another model."""
    folder = trained.train("small", [{"step": 1, "loss": 2.0}])
    for name, model in (("mine", "c" * 64), ("another", "x" * 64)):
        one = evaluation(tmp_path / name, model=model)
        record(trained.store, "evaluation", run_id(), name=name, state="done", began="2026-01-02T00:00:00+00:00",
               inputs=[{"kind": "model", "id": model, "name": name}],
               outputs=[], facts={"folder": str(one.folder)})  # fmt: skip
    record(
        trained.store, "training", run_id(), name="small", state="done", began="2026-01-03T00:00:00+00:00",
        inputs=[{"kind": "version", "id": trained.version, "name": "books@v1"}],
        outputs=[{"kind": "checkpoint", "id": "c" * 64, "name": "checkpoints/step-1"}], facts={"folder": str(folder)},
    )  # fmt: skip
    run = find_target(trained.store, "small")
    return build_run_report(run, tmp_path / "card.html", collect_card(run, trained.store))


def test_a_card_joins_data_evaluations_and_limits(card):
    told = Page(card.read_text())
    for words in ("What each stage did", "dedup", "Intended use", "mine", "calibration error", "9 of 50 items; 10 more",
                  "bias was not measured", "not audited for bias", "another seed"):  # fmt: skip
        assert words in told.text, words
    assert "another" not in [one.get("id") for one in told.of("h3")] and not told.of("script")
    assert "contamination of its tasks by the training data was not measured" not in told.text


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_whole_on_a_phone_and_ask_for_nothing(pages, card, browser, dark):
    for page in (*pages, card):
        tab = browser.open(page, width=390, height=844, dark=dark)
        tab.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
        assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth"), page.name
        assert (tab.requests(), tab.complaints(), tab.dialogs(), tab.serious()) == ([page.as_uri()], [], [], []), (
            page.name
        )
