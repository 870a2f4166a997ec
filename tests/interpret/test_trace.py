"""Which documents of its training a text repeats."""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from curate.cli import app
from curate.dataset.reader import open_dataset
from curate.dataset.runs import Thing, now, record
from curate.errors import CurateError
from curate.interpret.read_by import readings
from curate.interpret.trace import Tracer, trace
from curate.train.data.order import Order
from tests.interpret.conftest import COMMON, WHALE, rows


def traced(project, text, run="small", **asked):
    """What is told of a text, and what is said meanwhile."""
    place = project.folder / run if "/" in run else project.folder / "runs" / run
    said = []
    found = trace(text, place, project.store, say=said.append, **asked)
    return SimpleNamespace(**found, said=said)


def refused(project, *given, **asked):
    with pytest.raises(CurateError) as error:
        traced(project, *given, **asked)
    return error.value


def test_a_planted_sentence_is_found_with_its_document(read_only):
    (span,) = traced(read_only, f"Hello! I dreamt that {WHALE}, I did.").spans
    (place,) = span["places"]
    assert span["text"].strip().startswith(WHALE)
    assert (span["occurrences"], span["documents"]) == (1, 1)
    wanted = {"id": "row-7", "dataset": "rows", "split": "train", "number": 7, "role": "text", "run": "small"}
    assert {key: place[key] for key in wanted} == wanted
    assert (place["license"], place["source"].partition("#")[0]) == ("CC0-1.0", "rows.jsonl")
    assert (place["before"][-8:], place["after"].split()[0]) == ("Long ago", "and")


def test_places_in_the_text_are_those_of_its_characters(read_only):
    text = f"caf\u00e9 \U0001f433 {WHALE}"
    (span,) = traced(read_only, text).spans
    assert text[span["start"] : span["end"]] == span["text"] == f" {WHALE}"


def test_documents_are_counted_and_occurrences_in_them_and_no_validation_is(read_only):
    found = traced(read_only, f"Listen: {COMMON}", documents=9)
    (span,) = found.spans
    assert (span["occurrences"], span["documents"]) == (5, 4)
    assert [(one["id"], one["occurrences"]) for one in span["places"]] == [
        ("row-3", 1), ("row-12", 1), ("row-20", 1), ("row-30", 2)
    ]  # fmt: skip
    assert "ann@example.org" not in json.dumps(span)


def test_the_rarest_span_comes_first(read_only):
    found = traced(read_only, f"Number 4 tells of 5 -- {COMMON} -- {WHALE}", shortest=5)
    told = [one["log_probability"] for one in found.spans]
    assert len(told) >= 3 and told == sorted(told)
    whole = Tracer(read_only.folder / "runs/small", read_only.store, say=lambda words: None)
    counts = np.bincount(whole._shards[0].suffixes.tokens)
    tokens = whole._tokenizer.encode(found.spans[0]["text"]).ids
    assert told[0] == pytest.approx(float(np.log(counts[tokens] / counts.sum()).sum()))


def test_no_span_goes_over_the_end_of_a_document_though_the_text_spells_its_token(read_only):
    texts = [one["text"] for one in rows()]
    found = traced(read_only, f"{texts[0]}<|endoftext|>{texts[1]}", shortest=6)
    assert sorted(one["text"] for one in found.spans) == texts[:2]


def test_how_often_it_was_read_is_what_the_order_of_the_training_says(read_only):
    read_only.run("longer", "steps=31") if not (read_only.folder / "runs/longer").exists() else None
    (reading,), _ = readings(read_only.folder / "runs/longer", read_only.store)
    length = 16
    count = -(-len(reading.rows.stream("text")) // length)
    order = Order(count, sequences=4, seed=reading.config["seed"])
    wanted = np.zeros(count, int)
    for step in range(31):
        for example in order.step(step)[1].tolist():
            wanted[example] += 1
    assert [reading.times(place * length, place * length + 5) for place in range(count - 1)] == wanted[:-1].tolist()
    assert len(set(wanted.tolist())) > 1
    assert reading.times(0, 2 * length) == wanted[:2].min()


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        (["objective={kind: sft}", "data.unfit=leave_out"], ["messages"]),
        (["objective={kind: preference}"], ["prompt", "chosen", "rejected"]),
    ],
)
def test_rows_of_fine_tuning_are_searched_in_their_columns(project, changes, roles):
    project.run("rows", *changes)
    found = traced(project, f"Once {WHALE}", "rows")
    assert found.searched[0]["roles"] == roles
    (place,) = found.spans[0]["places"]
    assert (place["id"], place["number"], place["role"], place["times"]) == (
        "row-7", 7, "chosen" if "chosen" in roles else "messages", None
    )  # fmt: skip


def test_what_a_run_began_with_and_what_it_read_before_its_data_changed_is_searched_too(project):
    base = project.run("base")
    first = open_dataset("rows", project.store).version
    project.make([{**one, "text": one["text"].replace(WHALE, "a fish slept")} for one in rows()])
    project.run("tuned", f"model.path={base}")
    found = traced(project, f"Once {WHALE}", "tuned")
    assert [(one["run"], one["version"] == first) for one in found.searched] == [("tuned", False), ("base", True)]
    assert found.spans[0]["places"][0]["run"] == "base"
    changes = {
        "step": 2,
        "name": "data.tokens",
        "was": json.loads((base / "config.json").read_text())["data"]["tokens"],
    }
    (project.folder / "runs/tuned/changes.jsonl").write_text(json.dumps(changes) + "\n")
    shutil.rmtree(base)
    found = traced(project, f"Once {WHALE}", "tuned")
    assert found.spans[0]["places"][0]["run"] == "tuned"
    assert found.notes == [f"it began with the weights of `{base}`: it is not known what `{base}` was trained on"]


def test_an_exported_model_is_that_of_its_run(project):
    run = project.folder / "runs/small"
    out = project.folder / "exported"
    out.mkdir()
    (out / "config.json").write_text('{"model_type": "llama"}')
    error = refused(project, f"Once {WHALE}", "./exported")
    assert error.problem == f"it is not known what `{out}` was trained on"
    facts = {"folder": str(out.resolve())}
    record(
        project.store, "model_export", "e", name="exported", state="done", began=now(), facts=facts, outputs=[],
        inputs=[Thing(kind="checkpoint", id="c", name=str(run))],
    )  # fmt: skip
    assert traced(project, f"Once {WHALE}", "./exported").spans[0]["places"][0]["run"] == "small"


def exported(project, run, name="exported"):
    """A folder as `curate export` leaves it, and on record; weights and checkpoint by their hashes."""
    out, told = project.folder / name, json.loads((run / "config.json").read_text())
    checkpoint = next(run.glob("checkpoints/step-*/checkpoint.json"))
    checkpoint.write_text(json.dumps({"name": name}))
    digest = hashlib.sha256(hashlib.sha256(checkpoint.read_bytes()).digest()).hexdigest()
    out.mkdir()
    facts = {"run": {"checkpoint": digest}, "data": [{"tokens": told["data"]["tokens"]}]}
    (out / "export.json").write_text(json.dumps(facts))
    record(
        project.store, "model_export", name, name=name, state="done", began=now(), facts={"folder": str(out.resolve())},
        inputs=[Thing(kind="checkpoint", id=digest, name=str(run))],
        outputs=[Thing(kind="model", id=f"weights of {name}", name=str(out))],
    )  # fmt: skip
    return out


def test_an_export_of_a_run_that_was_trained_again_on_other_data_is_refused(project):
    run = project.run("again")
    exported(project, run)
    assert traced(project, f"Once {WHALE}", "./exported").spans
    shutil.rmtree(run)
    project.make([{**one, "text": one["text"].replace(WHALE, "a fish slept")} for one in rows()])
    project.run("again")
    error = refused(project, f"Once {WHALE}", "./exported")
    assert error.problem == "run `again` was trained again on other data since this model was made of it"


def test_an_export_is_found_where_it_was_moved_to_and_at_its_own_step(project):
    run = project.run("moved")
    exported(project, run).rename(project.folder / "elsewhere")
    later = run / "checkpoints/step-000040"
    later.mkdir()
    (later / "checkpoint.json").write_text('{"later": 1}')
    (span,) = traced(project, f"Once {WHALE}", "./elsewhere").spans
    assert span["places"][0]["times"] in (0, 1)  # of 4 steps; after 40 it was read more often
    (span,) = traced(project, f"Once {WHALE}", "moved").spans
    assert span["places"][0]["times"] > 1


def test_an_export_whose_checkpoint_is_gone_says_so_and_does_not_know_how_often_it_was_read(project):
    run = project.run("gone")
    exported(project, run)
    (run / "checkpoints/step-000004/checkpoint.json").write_text("{}")
    found = traced(project, f"Once {WHALE}", "./exported")
    assert found.spans[0]["places"][0]["times"] is None
    assert found.notes == [
        "the checkpoint that is meant is gone from run `gone`: if that was trained again since, it may have read other text"
    ]


def test_weights_to_begin_with_that_are_others_by_now_are_told(project):
    base = project.run("base")
    tuned = project.run("tuned", f"model.path={base}")
    config = json.loads((tuned / "config.json").read_text())
    (tuned / "config.json").write_text(json.dumps({**config, "models": {"path": "0" * 64}}))
    assert "the checkpoint that is meant is gone from run `base`" in traced(project, f"Once {WHALE}", "tuned").notes[0]


def test_adapters_to_begin_with_are_followed_or_told(project):
    first = project.run("first")
    project.make([{**one, "text": one["text"].replace(WHALE, "a fish slept")} for one in rows()])
    adapters = exported(project, first, "adapters")
    project.run("second", f"model.path={project.folder}/runs/small", f"lora={{path: {adapters}}}")
    found = traced(project, f"Once {WHALE}", "second")
    assert [one["run"] for one in found.searched] == ["second", "small"]
    assert found.notes[0].endswith("that run `first` was given are those of `small` too, and are counted once")
    project.run("third", f"model.path={project.folder}/runs/small", f"lora={{path: {project.folder}/others}}")
    (note,) = traced(project, f"Once {WHALE}", "third").notes
    others = project.folder / "others"
    assert note == f"it began with the adapters in `{others}`: it is not known what `{others}` was trained on"


def test_an_export_within_its_run_is_no_checkpoint(project):
    run = project.run("within")
    exported(project, run, "runs/within/hf")
    assert traced(project, f"Once {WHALE}", "runs/within/hf").spans[0]["places"][0]["run"] == "within"


def test_a_run_that_put_middles_last_does_not_say_how_often_a_span_was_read(project):
    special = "tokenizer.special_tokens=[<|endoftext|>,<|pad|>,<|fim_prefix|>,<|fim_suffix|>,<|fim_middle|>]"
    project.run("middle", "objective={kind: causal, fill_in_the_middle: 0.5}", special)
    assert traced(project, f"Once {WHALE}", "middle").spans[0]["places"][0]["times"] is None


def test_a_document_is_counted_once_in_two_roles_and_in_two_versions(project):
    given = rows()
    given[7]["rejected"] = f"No, {given[7]['text']}"
    project.make(given)
    base = project.run("pairs", "objective={kind: preference}")
    (span,) = traced(project, f"Once {WHALE}", "pairs").spans
    assert (span["occurrences"], span["documents"], span["at_least"]) == (2, 1, False)
    assert [(one["id"], one["role"]) for one in span["places"]] == [("row-7", "chosen"), ("row-7", "rejected")]
    project.make([*given, {**given[0], "id": "new", "text": "one more document here"}])
    project.run("after", f"model.path={base}")
    (span,) = traced(project, f"Once {WHALE}", "after").spans
    assert (span["occurrences"], span["documents"]) == (3, 1)


def test_documents_of_a_span_that_stands_very_often_are_at_least_so_many(project, monkeypatch, capsys):
    monkeypatch.setattr("curate.interpret.trace.MOST", 2)
    (span,) = traced(project, f"Listen: {COMMON}").spans
    assert (span["occurrences"], span["at_least"]) == (5, True) and span["documents"] < 4
    monkeypatch.chdir(project.folder)
    app(["trace", f"Listen: {COMMON}", "--model", "small"], standalone_mode=False)
    assert f"5 times, in at least {span['documents']} document" in capsys.readouterr().out


def test_an_export_for_another_engine_is_traced_by_the_command(project, monkeypatch, capsys):
    exported(project, project.run("other"))
    monkeypatch.chdir(project.folder)
    app(["trace", f"Once {WHALE}", "--model", "exported"], standalone_mode=False)
    assert "run other was given rows@" in capsys.readouterr().out


def test_a_pack_of_another_tokenizer_is_refused(project):
    tokenizer = project.folder / "runs/small/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    error = refused(project, WHALE)
    version = open_dataset("rows", project.store).version[:12]
    assert error.problem == (
        f"nothing that `{project.folder}/runs/small` was trained on can be looked at: the tokens of rows@{version} that run "
        "`small` was given were cut by another tokenizer, and are not looked at"
    )


def test_a_pack_that_is_gone_is_told(project):
    shutil.rmtree(next((project.folder / ".curate/tokens").glob("*/")))
    error = refused(project, WHALE)
    assert "that run `small` was given are gone from the store" in error.problem
    assert "`curate train` packs the tokens of a version again" in error.hint


def test_a_version_that_is_gone_is_told(project):
    next((project.folder / ".curate/versions").glob("*.json")).unlink()
    assert "their version cannot be read" in refused(project, WHALE).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "the text is empty"), ("Hi", "the text has 2 tokens, and the shortest span that is looked for has 8")],
)
def test_a_text_that_is_too_short_is_refused(read_only, text, problem):
    assert refused(read_only, text).problem == problem


def test_a_text_that_nobody_wrote_has_no_spans(read_only):
    found = traced(read_only, "Zyxwv! qqq? Jjj; kkk: vvv...")
    assert (found.spans, found.covered, found.found) == ([], 0.0, 0)


def test_the_command_tells_people_and_scripts(read_only, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(read_only.folder)
    (tmp_path / "text").write_text(f"Once {WHALE}")
    app(["trace", "--file", str(tmp_path / "text"), "--model", "small"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "run small was given rows@" in told and "1. " in told and "row-7: rows@" in told
    app(["trace", f"Once {WHALE}", "--model", "small", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["spans"][0]["places"][0]["id"] == "row-7"
    app(["trace", "Zyxwv! qqq? Jjj; kkk: vvv...", "--model", "small"], standalone_mode=False)
    assert "no 8 tokens of the text's" in capsys.readouterr().out
    with pytest.raises(CurateError, match="the text cannot be read: 'utf-8' codec"):
        app(["trace", "a\udcff", "--model", "small"], standalone_mode=False)
    with pytest.raises(CurateError, match="the text is given twice"):
        app(["trace", "a", "--file", "b", "--model", "small"], standalone_mode=False)
