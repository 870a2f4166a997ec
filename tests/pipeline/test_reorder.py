"""`curate plan --reorder`: a cheaper order of filters, which keeps the same documents."""

from __future__ import annotations

import itertools
import json

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import CurateError
from curate.pipeline.reorder import Measured, best_order, reordered, segments, worthwhile

HEAD = 'dataset: toy\nsources: [{stage: "toy_stages:Lines", id: lines}]\nstages:\n'
FILTERS = [
    '  - {stage: "toy_stages:Narrow", id: a, minimum: 4}\n',
    '  - {stage: "toy_stages:Narrow", id: b, maximum: 24, scale: 2}\n',
    "  - {stage: sample, fraction: 0.7}\n",
]


def entries(project, *stages):
    project.pipeline(HEAD + "".join(stages))
    return load_pipeline(project.file).stages


def ids(project):
    return [[entry.id for entry in one] for one in segments(load_pipeline(project.file).stages)]


def test_filters_beside_each_other_are_told_and_what_edits_measures_or_compares_parts_them(project):
    entries(project, *FILTERS, '  - {stage: "toy_stages:Shout", id: shout}\n', "  - fineweb\n", "  - gopher_quality\n")
    assert ids(project) == [["a", "b", "sample"], ["fineweb", "gopher_quality"]]
    entries(project, FILTERS[0], "  - text_statistics\n", FILTERS[1], "  - exact_duplicates\n", FILTERS[2])
    assert ids(project) == []


def test_a_filter_that_is_given_all_columns_stays_where_it_is(project):
    entries(project, '  - {stage: "toy_stages:Long", id: long, minimum: 1}\n', FILTERS[0])
    assert ids(project) == []


def test_the_order_is_by_cost_over_what_is_dropped(project):
    [segment] = segments(entries(project, *FILTERS))
    known = {"a": Measured(5.0, 0.5), "b": Measured(1.0, 0.05), "sample": Measured(0.1, 0.3)}
    assert best_order(segment, known) == ["sample", "a", "b"]
    known["b"] = Measured(1.0, 0.0)  # drops nobody: last
    known["a"] = Measured(9.0, 0.01)
    assert best_order(segment, known) == ["sample", "a", "b"]


def test_it_is_the_cheapest_of_all_orders_where_filters_are_independent(project):
    from curate.pipeline.reorder import _cost

    [segment] = segments(entries(project, *FILTERS))
    known = {"a": Measured(5.0, 0.5), "b": Measured(2.0, 0.4), "sample": Measured(3.0, 0.2)}
    costs = {order: _cost(order, known) for order in itertools.permutations(known)}
    assert costs[tuple(best_order(segment, known))] == min(costs.values())


def test_a_filter_stays_behind_the_one_whose_column_it_is_given(project):
    [segment] = segments(
        entries(project, "  - language\n", "  - {stage: sample, fraction: 0.5, weight: language_score}\n")
    )
    known = {"language": Measured(5.0, 0.1), "sample": Measured(0.1, 0.9)}
    assert best_order(segment, known) == ["language", "sample"]


READER, WRITER = "  - {stage: sample, fraction: 0.5, weight: language_score}\n", "  - language\n"
EVERY = "  - {stage: gopher_quality, on: '*', min_words: 16}\n"


@pytest.mark.parametrize(
    "order",
    [[WRITER, READER], [READER, WRITER], [WRITER, EVERY], [EVERY, WRITER], [WRITER, "  - {stage: language, id: b}\n"]],
)
def test_filters_of_which_one_writes_what_the_other_reads_or_writes_keep_their_order(project, order):
    [segment] = segments(entries(project, *order))
    names = [entry.id for entry in segment]
    for fast in names:
        known = {name: Measured(0.1, 0.9) if name == fast else Measured(5.0, 0.1) for name in names}
        assert best_order(segment, known) == names


def test_a_column_of_the_data_that_a_later_filter_overwrites_is_read_before_it_as_both_orders_show(project):
    """What the rule is for: the other order keeps others."""
    rows = [{"text": f"This is an English sentence {n}", "language_score": n % 2} for n in range(12)]
    (project.root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = []
    for order in ([READER, WRITER], [WRITER, READER]):
        both = "".join(order).replace("0.5", "1.0")
        project.pipeline(
            "dataset: toy\nsources: [{stage: files, paths: [in.jsonl]}]\nmin_documents: 0\nstages:\n" + both
        )
        kept.append(project.run().documents["kept"])
        [found] = reordered(project.open(), load_pipeline(project.file))
        assert found["proposed"] == [one["id"] for one in found["stages"]]
    assert kept[0] != kept[1]


def test_a_filter_that_cuts_stays_where_it_is_as_both_orders_show(project):
    project.write("one.txt", *("x" * length for length in range(1, 25)))
    trims = '  - {stage: "toy_stages:Trims", id: trims, minimum: 3, maximum: 10}\n'
    kept = []
    for order in ([trims, FILTERS[0], FILTERS[1]], [FILTERS[0], FILTERS[1], trims]):
        entries(project, *order)
        kept.append(project.run().documents["kept"])
        assert ids(project) == [["a", "b"]]
    assert kept == [21, 9]
    for action, together in (("drop", [["a", "decontaminate"]]), ("cut", [])):
        (project.root / "asked.jsonl").write_text('{"question": "one two three four five six seven eight nine"}\n')
        entries(project, FILTERS[0], f"  - {{stage: decontaminate, evaluation: [asked.jsonl], action: {action}}}\n")
        assert ids(project) == together


def test_every_order_keeps_the_same_documents_and_the_proposal_is_printed(project):
    project.write("one.txt", *("x" * (number % 17) + str(number) for number in range(120)))
    kept = []
    for order in (FILTERS, [FILTERS[2], FILTERS[1], FILTERS[0]]):
        project.pipeline(HEAD + "".join(order))
        project.run()
        kept.append(set(project.open().arrow()["id"].to_pylist()))
    assert kept[0] == kept[1]
    [found] = reordered(project.open(), load_pipeline(project.file))
    assert sorted(found["proposed"]) == ["a", "b", "sample"]
    assert found["after"] <= found["before"]
    outcome = project.cli("plan", "pipeline.yaml", "--reorder", "--json")
    assert set(json.loads(outcome.out)) == {"schema", "dataset", "version", "store", "filters"}
    outcome = project.cli("plan", "pipeline.yaml", "--reorder")
    assert "s for 1,000 documents" in outcome.out
    assert "the kept documents are the same" in outcome.out or "this order is as good as any" in outcome.out


def test_what_is_proposed_is_a_fixed_point_and_saves_more_than_a_tenth_and_a_second(project):
    for costs in itertools.product((0.0, 0.9, 1.0, 3.0), (0.0, 0.1, 0.5), repeat=2):
        known = {"a": Measured(*costs[:2]), "b": Measured(*costs[2:]), "sample": Measured(0.95, 0.3)}
        [segment] = segments(entries(project, *FILTERS))
        order, before, after = worthwhile(segment, known, 100)
        assert order == ["a", "b", "sample"] or before - after > max(1, before / 10)
        by_id = {entry.id: entry for entry in segment}
        again = worthwhile([by_id[name] for name in order], known, 100)
        assert again[0] == order
        assert worthwhile(segment, known, 0)[0] == ["a", "b", "sample"]  # nothing is saved of nothing


PREPARES = """
from curate.stages.contract import Filter
from curate.stages.decide import verdict_table
from curate.stages.preparation import SPENT
class Prepares(Filter):
    "Says that all its time went into what it prepares for others, too."
    def columns(self): return ()
    def edits(self): return False
    def open(self):
        import pyarrow as pa
        def measure(batch):
            SPENT.seconds += 1000
            return pa.table({"n": [1] * batch.num_rows})
        return measure
    def decide(self, measured):
        from curate.stages.verdicts import verdict_schema
        return verdict_schema().empty_table()
"""


def test_what_a_filter_prepares_for_others_is_no_cost_of_its_own(project):
    (project.root / "prepares.py").write_text(PREPARES)
    project.write("one.txt", "some text", "more text here")
    project.pipeline(HEAD + '  - {stage: "prepares:Prepares", id: p}\n' + FILTERS[0])
    project.run()
    [found] = reordered(project.open(), load_pipeline(project.file))
    assert [one["seconds"] > 0 for one in found["stages"]] == [False, True]


def test_what_a_run_measured_counts_though_it_failed_later(project):
    project.write("one.txt", *(f"text {number}" for number in range(20)))
    copies, fails = '  - {stage: "toy_stages:Copies", id: copies}\n', '  - {stage: "toy_stages:Unfinished", id: u}\n'
    project.pipeline(HEAD + "".join(FILTERS) + copies + fails)
    with pytest.raises(CurateError):
        project.run()
    project.pipeline(HEAD + "".join(FILTERS) + copies)
    project.run()
    [found] = reordered(project.open(), load_pipeline(project.file))
    assert {one["id"] for one in found["stages"]} == {"a", "b", "sample"}


def test_all_filters_that_nobody_measured_are_named_at_once(project):
    project.write("one.txt", "some text", "more text here")
    project.pipeline(HEAD + FILTERS[0])
    project.run()
    project.pipeline(HEAD + "".join(FILTERS))
    problem = "what `b`, `sample` cost is not known: the newest version was made without `b`, `sample`"
    with pytest.raises(CurateError, match=problem) as caught:
        reordered(project.open(), load_pipeline(project.file))
    assert caught.value.hint == "curate run pipeline.yaml --force b --force sample"


def test_what_no_run_has_measured_is_an_error_that_says_how_to_measure_it(project):
    project.write("one.txt", "some text", "more text here")
    project.pipeline(HEAD + FILTERS[0])
    project.run()
    project.pipeline(HEAD + FILTERS[0] + FILTERS[1])
    with pytest.raises(
        CurateError, match="what `b` costs is not known: the newest version was made without it"
    ) as caught:
        reordered(project.open(), load_pipeline(project.file))
    assert caught.value.hint == "curate run pipeline.yaml --force b"


def test_a_share_that_was_dropped_under_another_setting_is_not_told_for_this_one(project):
    project.write("one.txt", *("x" * length for length in range(1, 9)))
    project.pipeline(HEAD + "".join(FILTERS))
    project.run()
    assert reordered(project.open(), load_pipeline(project.file))
    problem = "what `a` drops is not known: the newest version was made with another `minimum`"
    with pytest.raises(CurateError, match=problem) as caught:
        reordered(project.open(), load_pipeline(project.file, ["a.minimum=1"]))
    assert caught.value.hint == "curate run pipeline.yaml with these settings first"
