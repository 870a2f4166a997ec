"""The bias audit of versions that real runs made: what it finds, what it leaves open, and its page."""

from __future__ import annotations

import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from curate.audit.bias.audit import Question, audit
from curate.audit.bias.lexicon import load_lexicon
from curate.audit.bias.measure import Measure
from curate.cli import main
from curate.dataset.annotations import annotate, hashes
from curate.dataset.reader import open_dataset
from curate.dataset.runs import records
from curate.errors import CurateError
from curate.reports.bias import build_bias_report
from tests.reports.browser import Browser
from tests.reports.conftest import HOSTILE, stage
from tests.reports.page import Page

BAD_WORD = "unbiased"


def texts() -> list[dict]:
    """Documents of about one length: a third about lesbians, a third about gay people, a third about trees."""
    kinds = ("the lesbian neighbor was good", "a gay neighbor was so good", "some tree stood there, ok")
    made = [
        {"id": f"d{at}", "text": f"Yesterday {kinds[at % 3]}. It {'is hate' if at % 7 == 0 else 'is fine'}.",
         "tag": "ab"[at % 2], "label": at % 7 == 0, "author": f"a{at % 90}"}
        for at in range(900)
    ]  # fmt: skip
    hostile = [{"id": f"<b>{at}</b>1", "text": f"{text[:300]} lesbian {text[:300]}"} for at, text in enumerate(HOSTILE)]
    return [*made, *hostile]


@pytest.fixture(scope="module")
def project(make):
    return make(
        "bias",
        {"texts/a.jsonl": texts()},
        [stage("Rude", "rude"), stage("Biased", "filter"), "{stage: sample, fraction: 0.9}"],
    )


@pytest.fixture(scope="module")
def dataset(project):
    return open_dataset("books", project.store)


@pytest.fixture(scope="module")
def audited(dataset):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return audit(dataset, Question(load_lexicon(), by=("tag",), label="label", embedding=False))


def of(audited, family: str, group: str, subject: str | None = None) -> Measure:
    [found] = [one for one in audited.families[family] if one.group == group and subject in (None, one.subject)]
    return found


# ---- what it finds


def test_a_stage_that_removes_a_group_is_flagged_and_a_sample_is_not(audited):
    found = of(audited, "impact", "lesbian", "filter")
    assert (found.verdict, found.n) == ("flagged", 308)
    assert found.estimate and found.estimate.low > 5 and found.facts["keep_ratio"]["value"] < 0.5
    assert not found.facts["four_fifths"] and found.facts["adjusted"]
    assert of(audited, "impact", "lesbian", "sample").verdict == "none"
    assert of(audited, "impact", "lesbian", "all stages").verdict == "flagged"
    assert of(audited, "impact", "a", "filter").verdict == "none"


def test_removed_documents_are_named(audited):
    [some] = [some for (at, group), some in audited.corpus.examples.items()
              if at == "filter" and audited.corpus.groups[group][1] == "lesbian"]  # fmt: skip
    assert len(some) == 3 and {one.reason for one in some} == {"unwanted"}


def test_the_instruments_own_gap_is_taken_off_and_told(audited):
    gay = of(audited, "scores", "gay")
    assert audited.instruments["rude.toxicity"].problem is None
    assert gay.facts["gap"] == pytest.approx(0.3, abs=0.02)
    assert gay.facts["plain"]["value"] > 0.7 and abs(gay.facts["difference"]["value"]) < 0.15


def test_a_score_is_held_against_a_label(audited):
    assert set(audited.power_means["rude.toxicity"]) == {"subgroup", "bpsn", "bnsp"}
    assert audited.power_means["rude.toxicity"]["subgroup"]["groups"] >= 2
    assert of(audited, "labels", "gay").verdict == "none"


def test_groups_without_documents_are_named_and_not_guessed(audited):
    told = audited.to_json()
    assert "religion.sikhs" in told["groups_without_documents"]
    assert not any(row["group"] == "sikhs" for row in told["findings"])
    assert of(audited, "representation", "sikhs").verdict == "insufficient"


def test_columns_that_were_not_looked_at_are_named(audited):
    assert audited.corpus.looked == ["text"]
    assert {"tag", "author"} <= set(audited.corpus.unseen)


def test_a_cluster_makes_intervals_of_its_observations(dataset):
    whole = [
        audit(dataset, Question(load_lexicon(), cluster=one, scores=(), embedding=False)) for one in (None, "author")
    ]
    assert [len(set(one.corpus.clusters.tolist())) for one in whole] == [908, 98]


def test_an_embedding_of_little_text_is_insufficient(dataset):
    found = audit(dataset, Question(load_lexicon(), scores=())).families["embedding"]
    assert found and {one.verdict for one in found} == {"insufficient"}


def test_annotators_are_compared_and_their_agreement_is_told_by_group(project, dataset, tmp_path):
    shutil.copytree(project.root, tmp_path / "copy")
    store = type(project)(tmp_path / "copy").store
    copied = open_dataset("books", store)
    table = copied.arrow(columns=["id", "text"])
    import pyarrow as pa

    rows = []
    for at, (name, digest) in enumerate(zip(table["id"].to_pylist(), hashes(table).to_pylist(), strict=True)):
        text = table["text"][at].as_py()
        for who in ("ann", "ben"):
            toxic = "hate" in text or (who == "ben" and "gay" in text)
            rows.append({"id": name, "hash": digest, "annotator": who, "label": "toxic" if toxic else "fine"})
    annotate(store, "judged", pa.Table.from_pylist(rows))
    found = audit(copied, Question(load_lexicon(), annotations="judged", scores=(), embedding=False))
    ben = next(one for one in found.families["annotators"] if (one.subject, one.group) == ("ben: toxic", "gay"))
    assert ben.verdict == "flagged"
    alphas = {row["group"]: row for row in found.agreement}
    assert alphas["gay"]["alpha"] < 0.2 < alphas["gay"]["alpha_others"]
    with pytest.raises(CurateError, match="the annotations of `judged` have no column `who`"):
        audit(copied, Question(load_lexicon(), annotations="judged", annotator="who", embedding=False))


@pytest.mark.parametrize(
    ("question", "problem"),
    [
        ({"on": ("prompt",)}, "no document has strings at prompt"),
        ({"by": ("dialect",)}, "no document has a column or feature `dialect`"),
        ({"scores": ("rude.nothing",)}, "no document has a column or feature `rude.nothing`"),
        ({"label": "truth"}, "no document has a column or feature `truth`"),
        ({"annotations": "none"}, "there are no annotations of `none`"),
    ],
)
def test_what_is_not_there_is_told(dataset, question, problem):
    with pytest.raises(CurateError, match=problem):
        audit(dataset, Question(load_lexicon(), embedding=False, **question))


def test_conversations_are_looked_at_with_on(chats):
    dataset = open_dataset("books", chats.store)
    with pytest.raises(CurateError, match="no document has strings at text"):
        audit(dataset, Question(load_lexicon(), embedding=False))
    found = audit(dataset, Question(load_lexicon(), on=("messages[].content",), embedding=False))
    assert (found.corpus.looked, found.corpus.unseen) == (["messages"], ["prompt"])


# ---- the page


@pytest.fixture(scope="module")
def page(dataset, audited, tmp_path_factory):
    return build_bias_report(dataset, audited, tmp_path_factory.mktemp("page") / "bias.html")


def test_the_page_says_what_was_found_in_sentences_and_shows_removed_documents(page):
    told = Page(page.read_text(encoding="utf-8"))
    assert "removed documents that mention \u201clesbian\u201d (orientation) more often than others" in told.text
    assert "Groups without documents: " in told.text and "transgender (gender)" in told.text
    assert "Not looked at: the columns" in told.text
    headings = ["What was measured", "What was found", "How sure this is", "What was done, and what it cost"]
    assert [told.text.rindex(one) for one in headings] == sorted(told.text.rindex(one) for one in headings)


def test_hostile_documents_are_text(page):
    content = page.read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|b>|svg onload)", content, re.IGNORECASE)
    assert "default-src 'none'" in content


def test_the_page_is_in_order_for_readers_of_screens_and_keyboards(page):
    told = Page(page.read_text(encoding="utf-8"))
    levels = [int(tag[1]) for tag, _ in told.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in told.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) and {link["href"][1:] for link in told.of("a")} <= set(ids)
    assert len(told.of("caption")) == len(told.of("table")) > 5
    regions = [one["aria-label"] for _, one in told.elements if "scroll" in one.get("class", "").split()]
    assert len(set(regions)) == len(regions)


def test_equal_audits_give_equal_bytes(dataset, audited, page, tmp_path):
    assert build_bias_report(dataset, audited, tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_no_output_calls_anything_unbiased(page, audited):
    whole = page.read_text(encoding="utf-8") + json.dumps(audited.to_json())
    assert BAD_WORD not in whole.lower()


@pytest.mark.slow
def test_the_page_is_whole_on_a_phone_and_asks_for_nothing(page, tmp_path):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "Chromium is not installed: `make services` does that"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    browser = Browser(program, tmp_path)
    tab = browser.open(page, width=390, height=844)
    tab.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
    assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth")
    assert (tab.requests(), tab.complaints()) == ([page.as_uri()], [])
    browser.close()


# ---- the command


def run(capsys, monkeypatch, project, *arguments: str, verb: str = "bias") -> tuple[int, str, str]:
    monkeypatch.chdir(project.root)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr("sys.argv", ["curate", "audit", verb, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


def test_the_command_prints_what_is_flagged_and_records_itself(capsys, monkeypatch, project, tmp_path):
    shutil.copytree(project.root, tmp_path / "copy")
    copied = type(project)(tmp_path / "copy")
    code, out, _ = run(capsys, monkeypatch, copied, "books", "--no-embedding", "--out", "bias.html")
    assert code == 0
    assert re.search(r"impact +filter +orientation: lesbian +308 +odds ratio", out)
    assert "insufficient" in out and BAD_WORD not in out.lower()
    assert (copied.root / "bias.html").is_file()
    [record] = records(copied.store, "audit")
    assert record["inputs"] == [{"kind": "version", "id": copied.version, "name": "books@v1"}]
    assert ["impact", "filter", "orientation", "lesbian"] in record["facts"]["flagged"]


def test_a_lexicon_and_an_axis_can_be_named(capsys, monkeypatch, project, tmp_path):
    words = tmp_path / "mine.yaml"
    words.write_text("language: en\nsource: me\nlicence: CC0\ngroups: {plants: {trees: [tree], ferns: [fern]}}\n")
    code, out, _ = run(
        capsys, monkeypatch, project, "books", "--lexicon", str(words), "--axis", "plants", "--json", "--no-embedding"
    )
    told = json.loads(out)
    assert code == 0 and told["lexicon"][0]["file"] == "mine.yaml"
    assert told["groups_without_documents"] == ["plants.ferns"]
    words.write_text("language: en\nsource: me\nlicence: CC0\ngroups:\n  plants:\n    trees: [tree, 3]\n")
    code, _, err = run(capsys, monkeypatch, project, "books", "--lexicon", str(words))
    assert (code, err) == (2, f"error: a term is text, and `3` is none\n  at: {words}:6:19\n  hint: quote it: YAML reads `on` "
                           "and `1` otherwise\n")  # fmt: skip


# ---- mitigations, and what they changed


@pytest.fixture(scope="module")
def mitigated(make):
    """The same documents with a filter that cannot see who is meant, shares, copies and weights."""
    stages = [
        "{stage: mask_identities}", stage("Biased", "filter", ", on: masked_text"),
        "{stage: balance, axis: orientation, targets: {lesbian: 0.5, gay: 0.5}}",
        "{stage: reweigh, axis: orientation, label: label}",
    ]  # fmt: skip
    return make("mitigated", {"texts/a.jsonl": texts()}, stages)


def test_a_filter_that_reads_masked_text_removes_all_groups_alike(mitigated):
    found = audit(open_dataset("books", mitigated.store), Question(load_lexicon(), embedding=False))
    assert of(found, "impact", "lesbian", "filter").verdict == "none"
    assert of(found, "impact", "gay", "filter").facts["rate"]["value"] == pytest.approx(0.1, abs=0.03)


def test_shares_are_reached_and_weights_are_beside_the_documents(mitigated, tmp_path):
    dataset = open_dataset("books", mitigated.store)
    kept = [
        "lesbian" if "lesbian" in text else "gay" if "gay" in text else ""
        for text in dataset.arrow()["text"].to_pylist()
    ]
    assert kept.count("lesbian") == pytest.approx(kept.count("gay"), abs=10)
    assert all(weight > 0 for weight in dataset.arrow()["weight"].to_pylist())
    page = build_bias_report(dataset, audit(dataset, Question(load_lexicon(), embedding=False)), tmp_path / "page.html")
    assert re.search(r"gave weights to \d+ documents: weighted, they are worth \d+", Page(page.read_text()).text)


def test_before_and_after_are_compared_with_the_cost_and_a_random_control(
    capsys, monkeypatch, project, mitigated, tmp_path
):
    from curate import run as run_pipeline

    root = tmp_path / "both"
    shutil.copytree(project.root, root)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    text = (mitigated.root / "pipeline.yaml").read_text()
    (root / "pipeline.yaml").write_text(text)
    run_pipeline(root / "pipeline.yaml", workers=1)
    copied = type(project)(root)
    code, out, _ = run(capsys, monkeypatch, copied, "books@v1", "books", "--json", verb="compare")
    told = json.loads(out)
    assert code == 0
    changes = {(one["measure"], one["group"]): one for one in told["changes"]}
    kept, share = changes["kept", "lesbian"], changes["share", "lesbian"]
    assert kept["verdict"] == share["verdict"] == "changed"
    assert kept["before"] < 0.5 < 0.9 < kept["after"] and kept["low"] > 1.5
    assert share["difference"] > 0.1 and share["low"] > 0 and share["random"] is None
    assert told["cost"]["documents"][1] > told["cost"]["documents"][0]
    assert told["cost"]["effective_documents"][1] < told["cost"]["documents"][1]
    code, out, _ = run(capsys, monkeypatch, copied, "books", "books@v1", verb="compare")
    assert code == 0 and re.search(r"share +orientation: lesbian .* to .* changed", out)
    assert [one["facts"]["audit"] for one in records(copied.store, "audit")].count("compare") == 2
