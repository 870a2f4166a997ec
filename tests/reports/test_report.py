"""The report of a version: what it tells, what it must not tell, and that nothing in it runs."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode

import pytest

from curate.errors import CurateError
from curate.reports.collect import collect_report
from curate.reports.report import build_report, build_run_report, find_target
from tests.reports.page import LONG, Page, report

# ---- what it tells


def test_the_numbers_of_every_stage_are_told(builder, version):
    text = Page(report(builder, version)).text
    assert (
        "Of 9 documents read, 4 (44.4%) are in this version. 4 were dropped and 1 quarantined by 3 of 5 stages." in text
    )
    assert "dedup 6 4" in text and "8 in, 6 kept, 2 dropped." in text


def test_reasons_have_counts_thresholds_and_values(builder, version):
    (quality,) = [stage for stage in collect_report(builder.store, version).stages if stage.id == "quality"]
    (reason,) = quality.reasons
    assert (reason.verdict, reason.reason, reason.count, reason.threshold) == ("dropped", "word_count", 2, 5)
    assert (reason.spread.low, reason.spread.median, reason.spread.high) == (2, 3, 4)


def test_both_sides_of_a_duplicate_are_shown(builder, version):
    (dedup,) = [stage for stage in collect_report(builder.store, version).stages if stage.id == "dedup"]
    shown = {(example.text, example.other_text) for example in dedup.reasons[0].examples}
    assert shown == {(f"{LONG} two", f"{LONG} one"), (f"{LONG} three", f"{LONG} one")}


def test_an_edit_is_shown_before_and_after(builder, version):
    (unicode,) = [stage for stage in collect_report(builder.store, version).stages if stage.id == "unicode"]
    (example,) = unicode.reasons[0].examples
    assert example.before.startswith("It\u00e2\u20ac\u2122s") and example.text.startswith("It's")


def test_input_that_could_not_be_read_is_listed(builder, version):
    text = Page(report(builder, version)).text
    assert (
        "1 document could not be read or processed." in text
        and "part0.jsonl#7 files bad_json line 8 does not parse" in text
    )


def test_clusters_of_duplicates_are_counted_by_size(builder, version):
    (found,) = collect_report(builder.store, version).clusters
    assert (found.clusters, found.sizes, found.removed) == (1, {"3": 1}, {"3": 2})
    assert found.largest == ((3, "d0-1", f"{LONG} one"),)


def test_languages_and_splits_are_told(builder):
    builder.read([f"{LONG} {index}" for index in range(10)])
    builder.step("language", lambda *_: None, columns=lambda t: {"language": ["en"] * 7 + ["de"] * 3})
    builder.step("split", lambda *_: None, "mapper", columns=lambda t: {"split": ["test"] + ["train"] * 9})
    text = Page(report(builder, builder.commit())).text
    assert "train 9 90.0%" in text and "en 7 70.0%" in text and text.index("train 9") < text.index("test 1")


def test_the_lineage_names_inputs_tools_and_settings(builder, version):
    text = Page(report(builder, version)).text
    assert "xxh3-128:00000000000000000000000000000001" in text and "pyarrow 26.0.1" in text and "min_words 5" in text


def test_lengths_are_told_before_and_after(builder, version):
    lengths = collect_report(builder.store, version).lengths
    assert lengths.measured == lengths.documents == {"read": 8, "kept": 4}
    assert sum(lengths.histogram.counts["read"]) == 8 and lengths.quantiles["read"]["median"] > 0


def test_large_versions_are_measured_in_part_and_say_so(builder, version, monkeypatch):
    monkeypatch.setattr("curate.reports.measures.MEASURED", 5)
    assert "Measured on 5 of the 8 documents read and 4 of the 4 kept" in Page(report(builder, version)).text


def test_training_runs_of_this_version_are_drawn(builder, version):
    records = [{"step": step, "loss": 5 / step, "tokens": step * 100} for step in range(1, 9)]
    builder.train("small", version, [*records, {"step": 8, "validation": {"bits_per_byte": 1.25}}])
    builder.train("other", "f" * 64, records)
    text = Page(report(builder, version)).text
    assert "small 8 800 0.625 1.25" in text and "other" not in text and "Validation bits per byte" in text


def test_a_run_whose_folder_is_gone_is_told(builder, version):
    builder.store.record_training("lost", {"run": "lost", "folder": "gone", "version": version})
    assert "the run's folder has no metrics.jsonl any more" in Page(report(builder, version)).text


def test_features_have_distributions_and_thresholds(builder):
    def drop(row, document, verdicts):
        if row < 3:
            verdicts.drop(row, "word_count", value=float(row), threshold=3.0)

    def measure(table):
        return {"words": [float(index) for index in range(100)], "symbols": [0.5] * 99 + [None]}

    builder.read([f"{LONG} {index}" for index in range(100)]).step("quality", drop, columns=measure)
    words, symbols = collect_report(builder.store, builder.commit()).stages[1].features
    assert (words.name, words.limits, words.quantiles["median"], words.missing) == ("words", (3.0,), 49.5, 0)
    assert (symbols.limits, symbols.missing, symbols.documents) == ((), 1, 100)


def test_a_threshold_that_may_belong_to_two_features_is_not_shown(builder):
    def drop(row, document, verdicts):
        verdicts.drop(row, "both", value=1.0, threshold=2.0)

    builder.read([LONG]).step("quality", drop, columns=lambda table: {"one": [1.0], "other": [1.0]})
    features = collect_report(builder.store, builder.commit()).stages[1].features
    assert [feature.limits for feature in features] == [(), ()]


# ---- what it must not tell


def test_personal_data_is_shown_nowhere(builder, version):
    html = report(builder, version)
    assert not re.search(r"ann@|example\.org|0199", html)
    assert "secret contact: &lt;EMAIL&gt; is the address" in html


def test_what_a_later_stage_found_personal_is_blocked_out_of_earlier_examples(builder):
    def find_name(row, document, verdicts):
        from curate.stages.contract import Span

        at = document["text"].find("Zebulon")
        if at >= 0:
            verdicts.edit(
                row, document["text"].replace("Zebulon", "<PERSON>"), "personal", spans=[Span(at, at + 7, "PERSON")]
            )

    builder.read([f"It\u00e2\u20ac\u2122s Zebulon again, {LONG}", f"{LONG} Zebulon was here", f"{LONG} copied"])
    builder.fix_unicode().drop_copies().step("names", find_name, "mapper")
    assert "Zebulon" not in report(builder, builder.commit())


def test_personal_data_is_counted_by_type(builder, version):
    assert collect_report(builder.store, version).personal == {"EMAIL": {"found": 1, "documents": 1}}


# ---- nothing runs, nothing is hidden

HOSTILE = [
    "<script>alert(1)</script></blockquote></main> " + LONG,
    "\"><img src=x onerror=alert(2)> ' onmouseover='alert(3) " + LONG,
    "\u202egnitirw ot tfel\u202c and \x00 NUL and \x1b[31m red \u200b " + LONG,
    "x" * 100_000,
    "{{ 7 * 7 }} {% raw %} &lt;script&gt; javascript:alert(4) " + LONG,
    "</style><style>body{display:none}</style> short",
    "\ufffe\uffff <!-- --> ]]> <svg onload=alert(5)>",
    "",
]


@pytest.fixture
def hostile(builder):
    """Hostile text in documents, reasons, ids, settings, inputs, runs."""
    bad = "</title><script>alert(6)</script>\x00\u202e"
    builder.read(HOSTILE, rejected=[(1, bad, bad)], prefix='"><b>')
    builder.step(
        bad,
        lambda row, document, verdicts: verdicts.drop(row, bad, detail=bad) if row % 2 else None,
        settings={bad: bad},
    )
    builder.step("edit", lambda row, document, verdicts: verdicts.edit(row, document["text"] + bad, bad), "mapper")
    builder.step("language", lambda *_: None, columns=lambda t: {"language": [bad] * t.num_rows})
    inputs = [{"source": bad, "name": bad, "content": bad, "bytes": None}]
    version = builder.commit(
        {"pipeline": {"dataset": bad, "stages": [{bad: bad}]}, "inputs": inputs, "tools": {bad: bad}}
    )
    folder = builder.train("run", version, [{"step": 1, "loss": 2.0}])
    record = {"run": bad, "folder": str(folder), "dataset": "books", "version": version, "tokenizer": bad}
    builder.store.record_training("second", record)
    return version


def test_a_hostile_corpus_leaves_the_page_well_formed_and_without_scripts(builder, hostile):
    page = Page(report(builder, hostile))
    allowed = (
        "html head meta title style body a div nav p ol li main header h1 h2 h3 span bdi code dl dt dd section figure"
        " figcaption ul svg desc rect text line path circle details summary table caption thead tbody tr th td pre article"
        " blockquote mark strong wbr"
    )
    assert {tag for tag, _ in page.elements} <= set(allowed.split())
    assert len(page.of("style")) == 1


def test_a_browsers_parser_finds_no_script_either(builder, hostile):
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(report(builder, hostile))
    assert len(tree.document.query_selector_all("script, img, iframe, object, embed, form, link, base")) == 0
    assert len(tree.document.query_selector_all("main section h2")) == 8


def test_no_element_has_an_event_handler_a_style_or_an_outside_address(builder, hostile):
    for _, attributes in Page(report(builder, hostile)).elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_hidden_characters_are_named(builder, hostile):
    html = report(builder, hostile)
    assert "[U+202E]gnitirw" in html and "\u2400 NUL" in html and "\u241b[31m" in html
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u200b\ufffe\uffff]", html)


def test_the_policy_allows_the_style_sheet_and_nothing_else(builder, hostile):
    html = report(builder, hostile)
    (policy,) = [
        meta["content"] for meta in Page(html).of("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_one_very_long_word_makes_no_long_page(builder, hostile):
    assert len(report(builder, hostile)) < 120_000


# ---- what cannot be told


def test_a_version_without_documents_has_a_report(builder):
    builder.read([], [])
    assert "No documents were read." in Page(report(builder, builder.commit())).text


def test_a_damaged_object_is_an_error_of_the_user(builder, version):
    shard = builder.shards[0]
    builder.store.object_path(shard.object).write_bytes(b"rubbish")
    with pytest.raises(CurateError, match=f"object {shard.object[:12]} is damaged"):
        report(builder, version)


def test_a_report_that_cannot_be_written_is_an_error_of_the_user(builder, version):
    with pytest.raises(CurateError, match="cannot write the report: No such file or directory"):
        build_report(builder.store, version, builder.root / "nowhere/report.html")


# ---- runs


def test_a_run_has_a_page(builder, version):
    builder.train("small", version, [{"step": 1, "loss": 3.5, "tokens": 10}])
    run = find_target(builder.store, "small")
    page = Page(build_run_report(run, builder.root / "run.html").read_text())
    assert (
        "Training run small" in page.text and version in page.text and "preset: 10m" in page.text and "3.5" in page.text
    )


def test_validation_of_any_objective_is_told_and_drawn(builder, version):
    builder.train(
        "labels",
        version,
        [
            {"step": 1, "loss": 0.7, "validation": {"accuracy": 0.5, "macro_f1": 0.25, "count": 999}},
            {"step": 2, "loss": 0.5, "validation": {"accuracy": 0.75, "macro_f1": 0.375, "count": 999}},
        ],
    )
    page = Page(build_run_report(find_target(builder.store, "labels"), builder.root / "run.html").read_text())
    assert "macro f1 0.25 0.25 0.375 0.375" in page.text
    assert "Validation accuracy" in page.text and "999" not in page.text
    assert "accuracy 0.75" in Page(report(builder, version)).text


def test_a_run_is_found_by_its_folder(builder, version):
    folder = builder.train("small", version, [{"step": 1, "loss": 3.5}])
    assert find_target(builder.store, str(folder)).version == version


def test_a_resumed_runs_later_lines_count(builder, version):
    builder.train("small", version, [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 8.0}, {"step": 2, "loss": 7.0}])
    assert find_target(builder.store, "small").metrics["loss"] == [(1, 9.0), (2, 7.0)]


def test_broken_metrics_are_counted(builder, version):
    folder = builder.train("small", version, [{"step": 1, "loss": 9.0}, {"step": 2, "loss": float("nan")}])
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    run = find_target(builder.store, "small")
    assert run.problem == "1 lines of metrics.jsonl cannot be read" and run.metrics["loss"] == [(1, 9.0)]


def test_a_dataset_is_found_by_tag(builder, version):
    assert find_target(builder.store, "books@v1").version == version


def test_an_unknown_target_is_explained(builder, version):
    with pytest.raises(CurateError) as caught:
        find_target(builder.store, "boks")
    assert str(caught.value).startswith("error: there is no dataset and no training run named `boks`")
    assert "did you mean `books`?" in str(caught.value)
