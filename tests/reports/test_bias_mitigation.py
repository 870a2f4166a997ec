"""Before and after a mitigation, and what an audit has to say of itself: on versions that real runs made."""

from __future__ import annotations

import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from curate import run as run_pipeline
from curate.audit.bias import comparison, corpus
from curate.audit.bias.audit import Question, audit
from curate.audit.bias.comparison import compare
from curate.audit.bias.lexicon import load_lexicon
from curate.cli import main
from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.reports.bias import build_bias_report
from tests.reports.page import Page

HOSTILE = "</td><script>alert(1)</script>\x1b[31m"
WEIGH = "{stage: reweigh, axis: gender, label: label}"


def texts() -> list[dict]:
    """A label that documents about women have more often; a column with too many values, of which `common` comes last."""
    return [
        {"id": f"d{at}", "text": f"Then {'she' if at % 2 else 'he'} came with a friend and the dog number {at}.",
         "label": "bad" if at % 10 < (5 if at % 2 else 2) else "good",
         "dialect": f"rare{at}" if at < 60 else f"common{HOSTILE}"}
        for at in range(800)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def project(make):
    """Two versions: without weights, and with them."""
    made = make("weights", {"texts/a.jsonl": texts()}, ["{stage: sample, fraction: 0.9}"])
    pipeline = made.root / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text() + f"  - {WEIGH}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
        run_pipeline(pipeline, workers=1)
    return made


def versions(project):
    return open_dataset("books@v1", project.store), open_dataset("books@v2", project.store)


def run(capsys, monkeypatch, project, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("sys.argv", ["curate", "audit", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, *capsys.readouterr()


# ---- weights


def test_weights_that_a_stage_gave_are_seen_by_the_audit_unless_it_is_told_not_to(project):
    before, after = versions(project)
    verdicts = []
    for dataset, more in ((before, {}), (after, {}), (after, {"unweighted": True})):
        found = audit(dataset, Question(load_lexicon(), label="label", embedding=False, **more))
        verdicts.append({one.verdict for one in found.families["labels"] if one.group == "women"})
        assert ("documents count by the column `weight`" in " ".join(found.cautions())) == (
            dataset is after and not more
        )
    assert verdicts == [{"flagged"}, {"none"}, {"flagged"}]


def test_a_column_of_weights_that_is_not_there_is_told(project):
    before, after = versions(project)
    with pytest.raises(CurateError, match="no document has a column or feature `weigth`"):
        audit(before, Question(load_lexicon(), weight="weigth", embedding=False))
    with pytest.raises(CurateError, match="neither version has a column `weigth`"):
        compare(before, after, load_lexicon(), weight="weigth")
    with pytest.raises(CurateError, match="`label` holds str, and no numbers"):
        compare(before, after, load_lexicon(), weight="label")


# ---- before and after


def test_a_comparison_of_labels_sees_what_weights_did(project):
    found = compare(*versions(project), load_lexicon(), label="label")
    [women] = [one for one in found["changes"] if one.measure == "label" and one.group == "women"]
    assert women.verdict == "changed" and women.before and abs(women.before) > 0.2 and abs(women.after or 0) < 1e-9
    assert found["cautions"] == ["documents of the version after count by the column `weight`"]


def test_in_large_versions_the_same_documents_of_both_are_compared(project, monkeypatch):
    monkeypatch.setattr(comparison, "MEASURED", 300)
    found = compare(*versions(project), load_lexicon(), label="label")
    assert found["one_in"] == 3 and 150 < found["paired"] < 400
    assert all(one.before == one.after for one in found["changes"] if one.measure == "kept")
    assert found["cautions"][0].startswith("groups were looked at in one of 3 documents")


def test_the_cost_is_in_tokens_of_a_tokenizer_and_else_in_words_that_are_called_so(
    capsys, monkeypatch, project, tmp_path
):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sum(len(text.split()) for text in versions(project)[0].arrow()["text"].to_pylist())
    code, out, _ = run(capsys, monkeypatch, project, "compare", "books@v1", "books@v2", "--json")
    assert code == 0 and json.loads(out)["cost"]["words"] == [words, words]
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    cost = ["compare", "books@v1", "books@v2", "--tokenizer", str(tmp_path / "tokenizer.json"), "--json"]
    _, out, _ = run(capsys, monkeypatch, project, *cost)
    [name] = [name for name in json.loads(out)["cost"] if name.startswith("tokens of tokenizer ")]
    assert json.loads(out)["cost"][name][0] > words
    pack = project.root / ".curate" / "tokens" / "key"
    pack.mkdir(parents=True)
    shutil.copy(tmp_path / "tokenizer.json", pack)
    (pack / "manifest.json").write_text(json.dumps({"version": "v", "tokenizer": {"sha256": "t"}}))
    _, out, _ = run(capsys, monkeypatch, project, "compare", "books@v1", "books@v2", "--json")
    shutil.rmtree(pack)
    assert name in json.loads(out)["cost"]
    code, _, err = run(capsys, monkeypatch, project, *cost[:3], "--tokenizer", "nowhere.json")
    assert code == 2 and "there is no tokenizer here" in err


@pytest.fixture(scope="module")
def page(project, tmp_path_factory):
    from curate.reports.mitigation import build_comparison_report

    words = load_lexicon()
    found = compare(*versions(project), words, label="label")
    found["cost"]["words"] = [1.0, 2.0]
    return build_comparison_report(*versions(project), found, words.files, tmp_path_factory.mktemp("page") / "c.html")


def test_the_page_of_a_comparison_tells_what_changed_and_what_it_cost(page):
    told = Page(page.read_text(encoding="utf-8"))
    assert re.search(r"was \d+\.\d points (more|less) frequent in documents that mention \u201cwomen\u201d", told.text)
    assert "after, no more and no less frequent" in told.text and "effective documents" in told.text
    levels = [int(tag[1]) for tag, _ in told.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in told.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) and {link["href"][1:] for link in told.of("a")} <= set(ids)


@pytest.mark.slow
def test_the_page_of_a_comparison_is_whole_on_a_phone_and_asks_for_nothing(page, browser):
    tab = browser.open(page, width=390, height=844)
    tab.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
    assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth")
    assert (tab.requests(), tab.complaints(), tab.dialogs(), tab.serious()) == ([page.as_uri()], [], [], [])


def test_the_command_writes_the_page_and_records_it(capsys, monkeypatch, project):
    code, out, _ = run(
        capsys, monkeypatch, project, "compare", "books@v1", "books@v2", "--label", "label", "--out", "c.html"
    )
    assert code == 0 and (project.root / "c.html").is_file()
    assert re.search(r"label = \w+ +gender: women .* changed", out) and "note: documents of the version after" in out


# ---- what an audit says of itself


def test_the_commonest_values_of_a_column_are_groups_and_the_others_are_counted(capsys, monkeypatch, project, tmp_path):
    dataset = versions(project)[0]
    found = audit(dataset, Question(load_lexicon(), by=("dialect",), embedding=False))
    assert ("dialect", f"common{HOSTILE}") in found.corpus.groups
    values, documents = found.corpus.left_out["dialect"]
    assert (values, documents) == (21, 21) and "21 less common ones" in " ".join(found.cautions())
    content = build_bias_report(dataset, found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "has too many values" in content and "<script" not in content and "\x1b" not in content
    code, out, _ = run(capsys, monkeypatch, project, "bias", "books@v1", "--by", "dialect", "--no-embedding")
    assert code == 0 and "note: `dialect` has too many values" in out and "\x1b[31m" not in out


def test_pairs_are_looked_at_with_on_each_text_for_itself(make):
    lines = [
        {"id": f"p{at}", "prompt": "Whom?", "chosen": "The woman is good", "rejected": f"The man is bad, number {at}"}
        for at in range(300)
    ]
    dataset = open_dataset("books", make("pairs", {"pairs/a.jsonl": lines}, []).store)
    with pytest.raises(CurateError, match="no document has strings at text") as error:
        audit(dataset, Question(load_lexicon(), embedding=False))
    assert "chosen" in (error.value.hint or "")
    found = audit(dataset, Question(load_lexicon(), on=("chosen", "rejected"), embedding=False))
    assert (found.corpus.looked, found.corpus.unseen) == (["chosen", "rejected"], ["prompt"])
    shares = {(one.group, one.subject): (one.facts["share"], one.facts["share_others"])
              for one in found.families["association"]}  # fmt: skip
    assert shares["women", "topics.praise"] == (1.0, 0.0) and shares["women", "topics.blame"] == (0.0, 1.0)
    alone = audit(dataset, Question(load_lexicon(), on=("chosen",), embedding=False))
    assert not [one for one in alone.families["impact"] if one.group == "men"]


def test_text_that_is_not_english_is_told_where_the_lexicon_is(capsys, monkeypatch, make, tmp_path):
    lines = [{"id": f"g{at}", "text": f"Der Mann und die Frau gingen {at} Mal in den Wald, wo der Hund schlief."}
             for at in range(50)]  # fmt: skip
    made = make("german", {"texts/a.jsonl": lines}, [])
    dataset = open_dataset("books", made.store)
    page = build_bias_report(dataset, audit(dataset, Question(load_lexicon(), embedding=False)), tmp_path / "page.html")
    assert "the lexicon is English, and 50 of 50 texts that were tried seem not to be" in page.read_text(
        encoding="utf-8"
    )
    _, out, _ = run(capsys, monkeypatch, made, "bias", "books", "--no-embedding")
    assert "note: the lexicon is English" in out


def test_documents_that_were_edited_after_they_were_looked_at_are_told(make):
    lines = [
        {"id": f"e{at}", "text": f"It\u00e2\u20ac\u2122s what she said in the end, number {at}."} for at in range(40)
    ]
    dataset = open_dataset("books", make("edited", {"texts/a.jsonl": lines}, ["{stage: unicode}"]).store)
    found = audit(dataset, Question(load_lexicon(), embedding=False))
    assert found.corpus.rewritten == 40 and "40 documents of this version were edited" in found.cautions()[0]


def test_a_label_of_three_classes_is_no_truth_for_a_classifier(make):
    lines = [
        {"id": f"c{at}", "text": f"She is here, number {at}.", "class": at % 3, "toxicity": 0.5} for at in range(90)
    ]
    dataset = open_dataset("books", make("classes", {"texts/a.jsonl": lines}, []).store)
    found = audit(dataset, Question(load_lexicon(), scores=("toxicity",), label="class", embedding=False))
    assert "classifier" not in found.families and "the label has the value 2" in found.skipped["classifier"]


def test_a_version_that_lost_a_table_is_told(project, tmp_path):
    shutil.copytree(project.root, tmp_path / "copy")
    copied = type(project)(tmp_path / "copy")
    dataset = open_dataset("books@v1", copied.store)
    name = next(step.verdicts for shard in dataset.ledger() for step in shard.steps if step.verdicts)
    [path] = [one for one in (copied.root / ".curate").rglob(f"*{name.rpartition(':')[2][-20:]}*") if one.is_file()]
    path.unlink()
    with pytest.raises(CurateError):
        audit(dataset, Question(load_lexicon(), embedding=False))


def test_an_empty_version_is_audited_and_compared(make, empty, tmp_path):
    dataset = open_dataset("books", empty.store)
    found = audit(dataset, Question(load_lexicon(), by=("x",), label="y", embedding=False))
    assert all(one.verdict == "insufficient" for measures in found.families.values() for one in measures)
    assert "too little to compare" in build_bias_report(dataset, found, tmp_path / "page.html").read_text()
    assert {one.verdict for one in compare(dataset, dataset, load_lexicon())["changes"]} == {"insufficient"}
    assert corpus.MEASURED == comparison.MEASURED
