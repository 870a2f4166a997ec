"""What a name of a model stands for: one change after the other, whoever makes them, and whoever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from curate import run as run_pipeline
from curate.cli import app
from curate.dataset.care import collect_garbage
from curate.dataset.erased import erasures
from curate.dataset.models import change_names, pinned_by_models, read_names, require_names, require_unnamed
from curate.dataset.store import Store, canonical_json
from curate.erasure.erase import erase
from curate.erasure.subject import Subject
from curate.errors import CurateError
from curate.registry.promotion import model_at, promote, propose, rollback
from curate.registry.trained import lineage_notes

anywhere = pytest.mark.anywhere


def crowned(registry, name, run):
    """Make the run of a folder the champion."""
    propose(registry.store, name, str(run))
    return promote(registry.store, name, gates=None, force="a test").names


def runs_of(names):
    return {alias: names["models"][one]["run"] for alias, one in names["aliases"].items()}


def replayed(names):
    """The aliases that the log tells of."""
    found = {}
    for entry in names["log"]:
        if entry["action"] == "candidate":
            found["candidate"] = entry["model"]
        elif entry["action"] == "promote":
            found = {"champion": entry["model"]} | ({"previous": entry["before"]} if entry["before"] else {})
        elif entry["action"] == "keep":
            del found["candidate"]
        elif entry["action"] == "rollback":
            found |= {"champion": entry["model"], "previous": entry["before"]}
    return found


@anywhere
def test_the_champion_before_is_kept_and_comes_back(registry):
    first, second = registry.run("first"), registry.run("second")
    crowned(registry, "chat", first)
    names = crowned(registry, "chat", second)
    assert runs_of(names) == {"champion": "second", "previous": "first"}
    back = rollback(registry.store, "chat", why="slow").names
    assert runs_of(back) == {"champion": "first", "previous": "second"}
    assert [one["action"] for one in back["log"]] == ["candidate", "promote", "candidate", "promote", "rollback"]
    assert back["log"][-1]["why"] == "slow" and back["log"][3]["forced"] == "a test"
    assert runs_of(rollback(registry.store, "chat").names) == runs_of(names)


def test_the_log_only_grows(registry):
    before = crowned(registry, "chat", registry.run("first"))["log"]
    crowned(registry, "chat", registry.run("second"))
    rollback(registry.store, "chat")
    assert require_names(registry.store, "chat")["log"][: len(before)] == before


def test_what_is_so_already_changes_nothing(registry):
    first = registry.run("first")
    assert propose(registry.store, "chat", str(first)).changed
    assert not propose(registry.store, "chat", str(first)).changed
    crowned(registry, "chat", first)
    propose(registry.store, "chat", str(first))
    assert not promote(registry.store, "chat", gates=None, force="again").changed


def test_a_champion_that_is_put_forward_again_is_no_candidate_after_and_the_reason_is_logged(registry):
    first = registry.run("first")
    crowned(registry, "chat", first)
    names = crowned(registry, "chat", first)
    assert runs_of(names) == {"champion": "first"} and names["aliases"] == replayed(names)
    assert (names["log"][-1]["action"], names["log"][-1]["forced"]) == ("keep", "a test")


@anywhere
def test_changes_at_once_lose_none(registry):
    runs = [str(registry.run(f"run-{number}")) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda run: propose(registry.store, "chat", run), runs))
    names = require_names(registry.store, "chat")
    assert sorted(one["run"] for one in names["log"]) == [f"run-{number}" for number in range(6)]
    assert names["aliases"] == replayed(names)


@anywhere
def test_of_promotions_at_once_one_is_made_and_the_others_are_told(registry):
    first = registry.run("first")
    propose(registry.store, "chat", str(first))

    def one(why):
        try:
            return promote(registry.store, "chat", gates=None, force=why).changed
        except CurateError as error:
            assert "has got another candidate" in error.problem or "has no candidate" in error.problem
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, "abcd")) == 1
    names = require_names(registry.store, "chat")
    assert [entry["action"] for entry in names["log"]] == ["candidate", "promote"]


def test_a_verdict_about_another_champion_is_worth_nothing(registry, monkeypatch):
    first, second, third = (registry.run(name) for name in ("first", "second", "third"))
    crowned(registry, "chat", first)
    entry = propose(registry.store, "chat", str(second)).names["aliases"]["candidate"]
    propose(registry.store, "chat", str(third))
    with pytest.raises(CurateError, match="model `chat` has got another candidate meanwhile"):
        promote(registry.store, "chat", gates=None, force="late", only=entry)
    assert runs_of(require_names(registry.store, "chat"))["champion"] == "first"


def test_whoever_is_killed_leaves_names_that_are_whole(registry):
    runs = [str(registry.run(f"run-{number}")) for number in range(3)]
    crowned(registry, "other", registry.folder / "runs" / "run-0")  # what it imports takes longer than a child lives
    chance = random.Random(0)
    for turn in range(20):
        child = os.fork()
        if child == 0:
            for number in range(1000):
                propose(registry.store, "chat", runs[number % 3])
                promote(registry.store, "chat", gates=None, force="killed")
            os._exit(0)
        time.sleep(chance.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        names, content = read_names(registry.store, "chat")
        if content is not None:
            told = replayed(names)
            assert names["aliases"] == told, turn
    assert len(names["log"]) > 4
    assert crowned(registry, "chat", registry.folder / "runs" / "run-0")["aliases"]["champion"]


def test_two_names_do_not_see_each_other(registry):
    first, second = registry.run("first"), registry.run("second")
    crowned(registry, "chat", first)
    crowned(registry, "code", second)
    assert runs_of(require_names(registry.store, "chat")) == {"champion": "first"}


# ---- what may not be lost


@pytest.fixture
def versions(registry):
    """Two versions of the dataset `books`, the first of which nothing names any more."""
    found = []
    for texts in (["about Jane Doe", "about trees"], ["about trees", "about rivers"]):
        lines = (json.dumps({"id": text, "text": text}) for text in texts)
        (registry.folder / "books.jsonl").write_text("\n".join(lines))
        (registry.folder / "pipeline.yaml").write_text(
            "dataset: books\nsources: [{stage: files, paths: [books.jsonl]}]\n"
        )
        done = run_pipeline(registry.folder / "pipeline.yaml", workers=1, store=registry.store.location)
        found.append(done.version)
    return found


def test_garbage_collection_keeps_what_champions_were_trained_on(registry, versions, place):
    first = registry.run("first", versions=[("books", versions[0])])
    crowned(registry, "chat", first)
    place.age(registry.store)
    collect_garbage(registry.store, keep_days=0, keep_last=0, dry_run=False)
    assert {blob.name for blob in registry.store.blobs.list("versions")} == {f"versions/{one}.json" for one in versions}
    crowned(registry, "chat", registry.run("second"))
    crowned(registry, "chat", registry.run("third"))
    collect_garbage(registry.store, keep_days=0, keep_last=0, dry_run=False)
    assert [blob.name for blob in registry.store.blobs.list("versions")] == [f"versions/{versions[1]}.json"]


def test_a_champion_that_saw_an_erased_person_says_so(registry, versions):
    crowned(registry, "chat", registry.run("first", versions=[("books", versions[0])]))
    change_names(
        registry.store, "chat", lambda names: {"action": "rollback", "model": "x", "run": "Jane Doe", "before": ""}
    )
    erase(registry.store, Subject(names=("Jane Doe",)), say=lambda words: None)
    names = require_names(registry.store, "chat")
    after, erasure = lineage_notes(registry.store, model_at(names, "champion")), erasures(registry.store)[0]["id"]
    assert after[0] == f"it saw data that erasure {erasure} has taken out of the store since: train it again without"
    assert "which it was trained on, is" in after[1] and "since an erasure" in after[1]
    again = CliRunner().invoke(
        app, ["model", "promote", "new", str(registry.folder / "runs" / "first"), "--force", "a test", "--store",
              registry.store.location],
    )  # fmt: skip
    assert after[0] in again.stderr
    assert "Jane Doe" not in json.dumps(names) and len(names["log"]) == 3
    assert len(pinned_by_models(registry.store)) == 2


def test_a_champion_is_not_trained_over(registry):
    first = registry.run("first")
    require_unnamed(registry.store, first)
    crowned(registry, "chat", first)
    with pytest.raises(CurateError) as refused:
        require_unnamed(registry.store, first)
    assert refused.value.problem == "run `first` is the champion of model `chat`: its weights must stay what they are"
    assert refused.value.hint == "train under another name: --set run=NAME"


def test_weights_that_are_gone_or_others_are_not_promoted_and_not_brought_back(registry):
    first, second = registry.run("first"), registry.run("second")
    crowned(registry, "chat", first)
    crowned(registry, "chat", second)
    (first / "checkpoints" / "step-000001" / "model.safetensors").unlink()
    with pytest.raises(CurateError, match=r"not whole any more: model\.safetensors is missing"):
        rollback(registry.store, "chat")
    (first / "checkpoints" / "step-000001" / "checkpoint.json").write_text('{"files": {}}')
    with pytest.raises(CurateError, match="other weights stand in their place"):
        rollback(registry.store, "chat")
    assert lineage_notes(registry.store, model_at(require_names(registry.store, "chat"), "previous")) == [
        f"other weights stand in their place ({first / 'checkpoints' / 'step-000001'})"
    ]


@pytest.mark.parametrize(("content", "promoted", "brought_back"), [("", False, False), ("FIRST", False, True)])
def test_weights_of_other_bytes_are_not_promoted_and_those_of_another_size_not_brought_back(
    registry, content, promoted, brought_back
):
    first, second = registry.run("first"), registry.run("second")
    crowned(registry, "chat", first)
    crowned(registry, "chat", second)
    propose(registry.store, "code", str(first))
    (first / "checkpoints" / "step-000001" / "model.safetensors").write_text(content)
    for wanted, change in (
        (promoted, lambda: promote(registry.store, "code", gates=None, force="a test")),
        (brought_back, lambda: rollback(registry.store, "chat")),
    ):
        if wanted:
            assert change().changed
        else:
            with pytest.raises(CurateError, match="its weights are not what they were"):
                change()
    entry = next(one for one in require_names(registry.store, "chat")["models"].values() if one["run"] == "first")
    (note,) = lineage_notes(registry.store, entry)
    assert note.startswith("its weights are not what they were: model.safetensors has ")


def test_names_wait_for_an_erasure_that_is_not_at_its_end(registry):
    first = registry.run("first")
    told = {"id": "abc-1", "state": "applying", "began": "2026", "trainings": []}
    registry.store.write("erasures/abc-1.json", canonical_json(told))
    with pytest.raises(CurateError, match="an erasure was begun and is not at its end") as refused:
        propose(registry.store, "chat", str(first))
    assert refused.value.hint == "`curate data erase` with the same subject ends it"


# ---- what is refused


@pytest.mark.parametrize(("name", "problem", "hint"), [
    ("../x", "`../x` is no name of a model", "letters, digits"),
    ("chta", "no model is named `chta`", "did you mean `chat`?"),
])  # fmt: skip
def test_a_name_that_is_none(registry, name, problem, hint):
    crowned(registry, "chat", registry.run("first"))
    with pytest.raises(CurateError) as refused:
        require_names(registry.store, name)
    assert refused.value.problem == problem and hint in refused.value.hint


def test_a_run_that_is_not_complete_or_not_on_record_gets_no_name(registry):
    half = registry.run("half", state="interrupted")
    with pytest.raises(CurateError, match=r"run `half` is not complete \(interrupted\)"):
        propose(registry.store, "chat", str(half))
    (registry.folder / "other").mkdir()
    (registry.folder / "other" / "config.json").write_text("{}")
    with pytest.raises(CurateError, match="the store knows no training in"):
        propose(registry.store, "chat", str(registry.folder / "other"))
    with pytest.raises(CurateError, match="is a server, and only trained models have names"):
        propose(registry.store, "chat", "http://localhost:1/v1")


def test_a_damaged_file_of_names_is_told(registry):
    crowned(registry, "chat", registry.run("first"))
    registry.store.write("models/chat.json", b'{"aliases": ')
    with pytest.raises(CurateError, match="the names of model `chat` cannot be read") as refused:
        rollback(registry.store, "chat")
    assert refused.value.hint == "restore it from a backup"


@pytest.mark.parametrize("broken", [
    {"log": []}, {"models": {}}, {"aliases": None}, {"log": ["x"]}, {"aliases": {"champion": []}}
])  # fmt: skip
def test_names_that_do_not_fit_together_are_damage_and_the_others_are_listed(registry, broken):
    names = crowned(registry, "chat", registry.run("first"))
    crowned(registry, "code", registry.run("second"))
    registry.store.write("models/chat.json", canonical_json(names | broken))
    with pytest.raises(CurateError, match="cannot be read: the file is damaged"):
        pinned_by_models(registry.store)
    words = ["model", "list", "--store", registry.store.location]
    listed, told = CliRunner().invoke(app, words), CliRunner().invoke(app, [*words, "--json"])
    assert "second" in listed.stdout and "names of model `chat` cannot be read" in listed.stderr
    assert [one["model"] for one in json.loads(told.stdout)["unread"]] == ["chat"]


def test_a_store_that_does_not_answer_is_not_called_damaged(registry, monkeypatch):
    def read(name):
        raise TimeoutError("timed out")

    monkeypatch.setattr(registry.store.blobs, "read", read)
    with pytest.raises(CurateError, match="cannot be read: timed out") as refused:
        read_names(registry.store, "chat")
    assert "backup" not in refused.value.hint


def test_a_change_of_nothing_writes_nothing(registry):
    change_names(registry.store, "chat", lambda names: None)
    assert not registry.store.blobs.exists("models/chat.json")


def test_a_rollback_without_a_champion_before_says_what_there_is(registry):
    crowned(registry, "chat", registry.run("first"))
    with pytest.raises(CurateError, match="model `chat` has no previous\n  at: it has: champion"):
        rollback(registry.store, "chat")


def test_a_store_is_read_again_by_whoever_opens_it(registry):
    crowned(registry, "chat", registry.run("first"))
    again = Store.open(registry.store.location)
    assert json.loads(again.blobs.read("models/chat.json"))["aliases"].keys() == {"champion"}
