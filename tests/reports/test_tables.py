"""The report of a version shows what mixtures gave beside what was asked, and topics by their words."""

import json

import curate
from curate.dataset.reader import Dataset
from curate.dataset.refs import resolve
from curate.dataset.store import Store
from curate.reports.collect import collect_report
from curate.reports.html import render_version

WORDS = {"sea": "harbour sailor anchor <b>tide</b> vessel", "farm": "barley plough tractor meadow cattle"}
PIPELINE = """\
dataset: mixed
sources: [{stage: files, paths: in.jsonl}]
stages:
  - {stage: topics, topics: 2, seed: 1}
  - {stage: exact_lines, min_characters: 5, min_left: 30}
  - {stage: mix, by: [kind], weights: {sea: 3, farm: 1}, max_repeats: 1}
"""


def test_cells_topics_and_lines_taken_out_are_shown(tmp_path):
    rows = [
        {"id": f"{kind}-{number}", "kind": kind, "text": f"{words} number {number}\n{words}"}
        for kind, words in WORDS.items()
        for number in range(12)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "p.yaml").write_text(PIPELINE)
    curate.run(tmp_path / "p.yaml", workers=1)
    store = Store.open(tmp_path / ".curate")
    report = collect_report(store, Dataset(store, resolve(store, "mixed")).version)
    tables = {stage.id: stage.tables for stage in report.stages if stage.tables}
    assert set(tables) == {"topics", "mix"}
    assert {row[0]: row[4] for row in tables["mix"][0].rows} == {"sea": 0.75, "farm": 0.25}
    page = render_version(report)
    assert "mix of mix</caption>" in page and "worth once" in page
    assert "barley" in page and "<b>tide" not in page
    assert "similarity" not in page and "stands in: " in page
