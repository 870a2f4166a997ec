"""The report of a version: what it tells, what it must not tell, and that nothing in it runs."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from curate.dataset.reader import Dataset
from curate.dataset.refs import resolve
from curate.dataset.store import object_name
from curate.errors import CurateError
from curate.reports.collect import collect_report
from curate.reports.report import build_report, build_run_report, find_target

LONG = "many words that make a text which no filter drops at all"
VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}


class Page(HTMLParser):
    """Checks that every element is closed where it should be, and collects what is asked for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.elements, self.texts, self.anchors = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag not in ("bdi", "code", "mark", "span", "strong"):
            self.texts.append(" ")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(project, tmp_path, name="report.html") -> str:
    return build_report(project.store, project.version, tmp_path / name).read_text(encoding="utf-8")


def facts(project):
    return collect_report(project.store, project.version)


def stage_of(project, id):
    return next(stage for stage in facts(project).stages if stage.id == id)


# ---- what it tells


def test_the_numbers_of_every_stage_are_told(books, tmp_path):
    text = Page(report(books, tmp_path)).text
    assert (
        "Of 9 documents read, 4 (44.4%) are in this version. 4 were dropped and 1 quarantined by 3 of 6 stages." in text
    )
    assert "dedup 6 4" in text and "8 in, 6 kept, 2 dropped." in text


def test_the_share_of_each_source_is_told(books, tmp_path):
    text = Page(report(books, tmp_path)).text
    assert "source read kept text read text kept share of the text" in text
    assert "web 8 3 309 bytes 146 bytes 77.7%" in text and "print 1 1 42 bytes 42 bytes 22.3%" in text


def test_reasons_have_counts_thresholds_and_values(books):
    (reason,) = stage_of(books, "quality").reasons
    assert (reason.verdict, reason.reason, reason.count, reason.threshold) == ("dropped", "word_count", 2, 5)
    assert (reason.spread.low, reason.spread.median, reason.spread.high) == (2, 3, 4)


def test_both_sides_of_a_duplicate_are_shown(books):
    shown = {(example.text, example.other_text) for example in stage_of(books, "dedup").reasons[0].examples}
    assert shown == {(f"{LONG} two", f"{LONG} one"), (f"{LONG} three", f"{LONG} one")}


def test_an_edit_is_shown_before_and_after(books):
    (example,) = stage_of(books, "unicode").reasons[0].examples
    assert example.before.startswith("It\u00e2\u20ac\u2122s") and example.text.startswith("It's")


def test_input_that_could_not_be_read_is_listed(books, tmp_path):
    text = Page(report(books, tmp_path)).text
    assert "1 document could not be read or processed." in text
    assert re.search(r"web/a\.jsonl#\d+ web bad_json \w+", text)


def test_clusters_of_duplicates_are_counted_by_size(books):
    (found,) = facts(books).clusters
    assert (found.clusters, found.sizes, found.removed) == (1, {"3": 1}, {"3": 2})
    assert found.largest == ((3, "a1", f"{LONG} one"),)


def test_languages_and_splits_are_told(measured, tmp_path):
    text = Page(report(measured, tmp_path)).text
    assert "en 64 68.1%" in text and "de 30 31.9%" in text
    splits = facts(measured).manifest["splits"]
    assert f"train {splits['train']['documents']}" in text and text.index("train ") < text.index("test ")


def test_the_lineage_names_inputs_tools_and_settings(books, tmp_path):
    text = Page(report(books, tmp_path)).text
    assert re.search(r"print/c\.jsonl print \d+ bytes xxh3-128:\w{32}", text)
    assert "pyarrow " in text and "min_words 5" in text


def test_lengths_are_told_before_and_after(books):
    lengths = facts(books).lengths
    assert lengths.measured == lengths.documents == {"read": 8, "kept": 4}
    assert sum(lengths.histogram.counts["read"]) == 8 and lengths.quantiles["read"]["median"] > 0


def test_the_lengths_of_the_version_are_those_after_edits(books):
    kept = [
        f"{LONG} one",
        "It's a broken sign in a long enough text",
        "secret contact: <EMAIL> is the address in here",
        "a completely different document with words",
    ]
    mean = sum(map(len, kept)) / 4
    assert facts(books).lengths.quantiles["kept"]["mean"] == mean


def test_large_versions_are_measured_in_part_and_say_so(books, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.reports.measures.MEASURED", 5)
    text = Page(report(books, tmp_path)).text
    assert re.search(r"Measured on \d of the 8 documents read and \d of the 4 kept", text)


def test_training_runs_of_this_version_are_drawn(trained, tmp_path):
    records = [{"step": step, "loss": 5 / step, "tokens": step * 100} for step in range(1, 9)]
    trained.train("small", [*records, {"step": 8, "validation": {"bits_per_byte": 1.25}}])
    trained.train("other", records, version="f" * 64, project="other")
    text = Page(report(trained, tmp_path)).text
    assert "small 8 800 0.625 1.25" in text and "other" not in text and "Validation bits per byte" in text


def test_two_projects_runs_of_one_name_are_both_drawn(trained, tmp_path):
    trained.train("small", [{"step": 1, "loss": 3.0}], project="poems")
    trained.train("small", [{"step": 1, "loss": 2.0}], project="prose")
    text = Page(report(trained, tmp_path)).text
    assert "small (poems) ends at 3; small (prose) ends at 2" in text


def test_a_run_that_was_begun_afresh_is_drawn_once(trained):
    folder = trained.train("small", [{"step": 1, "loss": 3.0}])
    trained.note("small", folder, began="2026-01-02T00:00:00+00:00")
    assert [run.run for run in facts(trained).runs] == ["small"]


def test_a_run_whose_folder_is_gone_is_told(trained, tmp_path):
    trained.note("lost", tmp_path / "gone/runs/lost")
    assert "the run's folder has no metrics.jsonl any more" in Page(report(trained, tmp_path)).text


def test_features_have_distributions_and_thresholds(measured):
    words, symbols = stage_of(measured, "quality").features
    assert (words.name, words.limits, words.quantiles["median"], words.missing) == ("words", (3.0,), 49.5, 0)
    assert (symbols.limits, symbols.missing, symbols.documents) == ((), 1, 100)


def test_a_threshold_that_may_belong_to_two_features_is_not_shown(measured):
    assert [feature.limits for feature in stage_of(measured, "ambiguous").features] == [(), ()]


def test_what_was_no_document_is_counted_in_the_funnel(archive, tmp_path):
    text = Page(report(archive, tmp_path)).text
    assert "stage in not documents made kept edited dropped quarantined expanded removed" in text
    assert "archive 2 1,203 \u2013 2" in text
    assert "Not documents: 3 metadata, 1,200 request." in text


def test_documents_made_of_documents_are_told(archive, tmp_path):
    text = Page(report(archive, tmp_path)).text
    assert "2 were expanded by 1 of 3 stages; 3 were made of the expanded." in text
    assert "documents in + made = kept + dropped + quarantined + expanded" in text
    assert "2 in, 3 kept, 2 expanded into 3." in text
    assert facts(archive).shares[0].kept == 3


def test_a_stage_s_examples_are_what_it_looks_at(chats):
    (edited,), (dropped,) = (stage_of(chats, id).reasons[0].examples for id in ("fix", "quality"))
    assert edited.text.startswith("hello It's") and dropped.text == "good morning"


def test_documents_without_a_column_text_have_lengths(chats):
    lengths = facts(chats).lengths
    assert lengths.documents == {"read": 3, "kept": 2} and lengths.quantiles["kept"]["median"] > 20


# ---- what it must not tell


def test_personal_data_is_shown_nowhere(books, tmp_path):
    html = report(books, tmp_path)
    assert not re.search(r"ann@|example\.org|0199", html)
    assert "secret contact: &lt;EMAIL&gt; is the address" in html


def test_what_a_later_stage_found_personal_is_blocked_out_of_earlier_examples(chats, tmp_path):
    html = report(chats, tmp_path)
    assert "hello" in html and "Zebulon" not in html


def test_personal_data_is_counted_by_type(books, chats):
    assert facts(books).personal == {"EMAIL": {"found": 1, "documents": 1}}
    assert facts(chats).personal == {"PERSON": {"found": 4, "documents": 2}}


# ---- nothing runs, nothing is hidden


def test_a_hostile_corpus_leaves_the_page_well_formed_and_without_scripts(hostile, tmp_path):
    page = Page(report(hostile, tmp_path))
    allowed = (
        "html head meta title style body a div nav p ol li main header h1 h2 h3 span bdi wbr code dl dt dd section figure"
        " figcaption ul svg desc rect text line path circle details summary table caption thead tbody tr th td pre article"
        " blockquote mark strong"
    )
    assert {tag for tag, _ in page.elements} <= set(allowed.split())
    assert len(page.of("style")) == 1


def test_a_browsers_parser_finds_no_script_either(hostile, tmp_path):
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(report(hostile, tmp_path))
    assert len(tree.document.query_selector_all("script, img, iframe, object, embed, form, link, base")) == 0
    assert len(tree.document.query_selector_all("main section h2")) == 8


def test_no_element_has_an_event_handler_a_style_or_an_outside_address(hostile, tmp_path):
    for _, attributes in Page(report(hostile, tmp_path)).elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_hidden_characters_are_named(hostile, tmp_path):
    html = report(hostile, tmp_path)
    assert "[U+202E]gnitirw" in html and "\u2400 NUL" in html and "\u241b[31m" in html
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u200b\ufffe\uffff]", html)


def test_the_policy_allows_the_style_sheet_and_nothing_else(hostile, tmp_path):
    html = report(hostile, tmp_path)
    (policy,) = [
        meta["content"] for meta in Page(html).of("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_one_very_long_word_makes_no_long_page(hostile, tmp_path):
    assert len(report(hostile, tmp_path)) < 120_000


# ---- the page itself


def test_the_same_version_gives_the_same_bytes(books, tmp_path):
    assert report(books, tmp_path, "one.html") == report(books, tmp_path, "two.html")


def test_headings_are_in_order_and_every_link_has_its_place(books, tmp_path):
    page = Page(report(books, tmp_path))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.of("a")} <= set(ids)
    labels = [name for _, attributes in page.elements for name in attributes.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)


def test_every_table_has_a_caption_and_headers_with_a_scope(books, tmp_path):
    page = Page(report(books, tmp_path))
    assert len(page.of("caption")) == len(page.of("table")) > 5
    assert all(header.get("scope") in ("col", "row") for header in page.of("th"))


def test_a_version_without_documents_has_a_report(empty, tmp_path):
    assert "No documents were read." in Page(report(empty, tmp_path)).text


def test_a_damaged_object_is_an_error_of_the_user(trained, tmp_path):
    name = Dataset(trained.store, resolve(trained.store, "books")).ledger()[0].object
    (trained.root / ".curate" / object_name(name)).write_bytes(b"rubbish")
    with pytest.raises(CurateError, match=f"object {name[:12]} is damaged"):
        report(trained, tmp_path)


def test_a_report_that_cannot_be_written_is_an_error_of_the_user(books, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CurateError, match=r"cannot write the report: (Not a directory|File exists)"):
        build_report(books.store, books.version, tmp_path / "file/report.html")


# ---- runs


def page_of(project, tmp_path, run) -> Page:
    return Page(build_run_report(find_target(project.store, run), tmp_path / "run.html").read_text())


def test_a_run_has_a_page(trained, tmp_path):
    trained.train("small", [{"step": 1, "loss": 3.5, "tokens": 10}])
    text = page_of(trained, tmp_path, "small").text
    assert "Training run small" in text and trained.version in text and "preset: 10m" in text and "3.5" in text


def test_validation_of_any_objective_is_told_and_drawn(trained, tmp_path):
    validations = [
        {"accuracy": 0.5, "macro_f1": 0.25, "count": 999},
        {"accuracy": 0.75, "macro_f1": 0.375, "count": 999},
    ]
    records = [{"step": step, "loss": 0.7, "validation": measures} for step, measures in enumerate(validations, 1)]
    trained.train("labels", records)
    text = page_of(trained, tmp_path, "labels").text
    assert "macro f1 0.25 0.25 0.375 0.375" in text
    assert "Validation accuracy" in text and "999" not in text
    assert "accuracy 0.75" in Page(report(trained, tmp_path)).text


def test_a_run_is_found_by_its_folder(trained):
    folder = trained.train("small", [{"step": 1, "loss": 3.5}])
    assert find_target(trained.store, str(folder)).version == trained.version


def test_a_folder_that_the_store_does_not_know_has_a_page_too(trained, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    found = find_target(trained.store, str(tmp_path / "mine"))
    assert (found.run, found.version) == ("mine", "")


def test_of_two_runs_of_one_name_the_folder_says_which(trained):
    folders = [trained.train("small", [{"step": 1, "loss": 3.5}], project=name) for name in ("poems", "prose")]
    with pytest.raises(CurateError, match="2 runs are named `small`") as caught:
        find_target(trained.store, "small")
    assert all(str(folder) in str(caught.value) for folder in folders)


def test_a_resumed_runs_later_lines_count(trained):
    trained.train("small", [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 8.0}, {"step": 2, "loss": 7.0}])
    assert find_target(trained.store, "small").metrics["loss"] == [(1, 9.0), (2, 7.0)]


def test_broken_metrics_are_counted(trained):
    folder = trained.train("small", [{"step": 1, "loss": 9.0}, {"step": 2, "loss": float("nan")}])
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    run = find_target(trained.store, "small")
    assert run.problem == "1 lines of metrics.jsonl cannot be read" and run.metrics["loss"] == [(1, 9.0)]


def test_a_dataset_is_found_by_tag(books):
    assert find_target(books.store, "books@v1").version == books.version


def test_an_unknown_target_is_explained(books):
    with pytest.raises(CurateError) as caught:
        find_target(books.store, "boks")
    assert str(caught.value).startswith("error: there is no dataset and no training run named `boks`")
    assert "did you mean `books`?" in str(caught.value)
