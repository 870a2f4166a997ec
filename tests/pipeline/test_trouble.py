"""Documents that make a stage raise, hang or die, and workers that die without a document's fault."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.pipeline.backends.contract import InternalError
from curate.pipeline.calls import warm
from curate.privacy.pii import Pii

KINDS = {"mapper": "Shout", "filter": "Long", "audit": "Letters", "global": "Copies"}


def quarantined(project, stage):
    """Ids of the documents that a stage quarantined, by reason."""
    found = {}
    for shard in project.open().ledger():
        for step in shard.steps:
            if step.stage == stage and step.verdicts:
                for row in project.store.read_table(step.verdicts).to_pylist():
                    if row["verdict"] == "quarantined":
                        found.setdefault(row["reason"], []).append(row["id"])
    return found


def lines(trouble, *places, count=60):
    return [f"{trouble} in line {i}" if i in places else f"b line {i}" for i in range(count)]


@pytest.mark.parametrize("stage", KINDS.values(), ids=KINDS)
def test_a_document_that_makes_a_stage_raise_is_quarantined_alone(project, stage):
    project.write("in.txt", *lines("RAISE", 7, 45))
    project.stages(f"{stage}, id: it")
    assert project.run().documents == {"in": 60, "kept": 58, "dropped": 0, "quarantined": 2}
    assert quarantined(project, "it") == {"stage_failed": ["in.txt#7", "in.txt#45"]}


@pytest.mark.slow
@pytest.mark.parametrize("stage", KINDS.values(), ids=KINDS)
def test_a_document_that_hangs_is_quarantined_alone(project, stage):
    project.write("in.txt", *lines("HANG", 33))
    project.stages(f"{stage}, id: it", time_limit=0.7)
    assert project.run().documents == {"in": 60, "kept": 59, "dropped": 0, "quarantined": 1}
    assert quarantined(project, "it") == {"time_limit": ["in.txt#33"]}


@pytest.mark.slow
def test_a_document_that_hung_is_tried_again_by_the_next_run_unless_that_is_declined(project, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "30")
    project.write("in.txt", "SLOW", "b")
    project.stages("Shout, id: it", time_limit=0.7)
    first = project.run()
    assert (first.documents["quarantined"], project.open().manifest["provisional"]) == (1, 1)
    monkeypatch.setenv("TOY_SLEEP", "0")
    told = project.plan()["it"]
    assert (told["run"], told["why"]) == (1, "tries documents again that the machine may have failed: 1")
    declined = project.run(accept_quarantined=True)
    assert (declined.version, declined.tasks["run"]) == (first.version, 0)
    assert project.run().documents["quarantined"] == 0
    assert project.run(store=project.root / "fresh").version == project.open().version


@pytest.mark.slow
def test_a_plan_tells_what_is_tried_again_of_a_stage_over_all_documents(project, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "30")
    project.write("in.txt", "SLOW", "b")
    project.stages("Copies, id: it", time_limit=0.7)
    project.run()
    told = project.plan()["it"]
    assert (told["action"], told["why"]) == ("will run", "tries documents again that the machine may have failed: 1")


@pytest.mark.parametrize("texts", [{"text": ["HANG"]}, {}])
def test_what_a_stage_is_loaded_with_is_of_no_document(texts):
    given = []
    columns = {"id": ["HANG"], "source_uri": ["HANG#0"], "messages": ["HANG"], "content": [b"HANG"], "number": [3]}
    warm(given.append, Pii.model_validate({}), "it", pa.table({**columns, **texts}).schema, lambda at: None)
    nothing = {"messages": None, "content": None, "number": None}
    assert [one.to_pylist() for one in given] == [
        [{"id": "warm", "source_uri": "warm#0", "text": "Three words here.", **nothing}]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stage", KINDS.values(), ids=KINDS)
def test_a_document_that_kills_its_worker_is_quarantined_alone(project, stage):
    project.write("in.txt", *lines("KILL", 33))
    project.stages(f"{stage}, id: it")
    assert project.run().documents == {"in": 60, "kept": 59, "dropped": 0, "quarantined": 1}
    assert quarantined(project, "it") == {"worker_died": ["in.txt#33"]}


@pytest.mark.slow
def test_several_troubles_in_one_shard_are_each_found(project):
    project.write("in.txt", *(["KILL one", "RAISE two", "HANG three", "fine", "KILL four"]), *lines("", count=30))
    project.stages("Shout, id: first", "Letters, id: second", time_limit=0.7)
    done = project.run(workers=2)
    assert done.documents == {"in": 35, "kept": 31, "dropped": 0, "quarantined": 4}
    assert quarantined(project, "first") == {
        "worker_died": ["in.txt#0", "in.txt#4"],
        "stage_failed": ["in.txt#1"],
        "time_limit": ["in.txt#2"],
    }


def test_a_quarantined_document_says_where_the_stage_failed_but_not_its_text(project):
    project.write("in.txt", "RAISE a document", "b")
    project.stages("Shout, id: it")
    project.run()
    outcome = project.cli("why", "in.txt#0", "--json")
    assert '"detail": "ValueError at toy_stages.py:' in outcome.out
    assert "secret words" not in outcome.out


def test_a_stage_that_fails_on_every_document_quarantines_all(project):
    project.write("in.txt", *lines("RAISE", *range(30), count=30))
    project.stages("Shout", "Long", "Letters", "Copies")
    assert project.run("min_documents=0").documents == {"in": 30, "kept": 0, "dropped": 0, "quarantined": 30}


@pytest.mark.parametrize("stage", ["Long", "Letters", "Copies"])
def test_a_measuring_stage_that_fails_on_every_document_quarantines_all(project, stage):
    project.write("in.txt", *lines("RAISE", *range(5), count=5))
    project.stages(stage, "Label, model: pipeline.yaml")
    project.monkeypatch.chdir(project.root)
    assert project.run("min_documents=0").documents == {"in": 5, "kept": 0, "dropped": 0, "quarantined": 5}


def test_columns_of_a_global_stage_are_aligned_with_the_documents_it_could_read(project):
    project.write("a.txt", "one", "RAISE", "two")
    project.write("b.txt", "RAISE", "RAISE again")
    project.write("c.txt", "one", "three")
    project.stages("Copies, keep: true")
    project.run()
    table = project.open().arrow()
    assert table.column("text").to_pylist() == ["one", "two", "one", "three"]
    assert table.column("cluster").to_pylist() == ["a.txt#0", "a.txt#2", "a.txt#0", "c.txt#1"]


def test_a_stage_of_ones_own_that_cannot_be_opened_is_named_with_its_words_and_place(project):
    project.write("in.txt", "hello")
    project.stages("Unfinished")
    with pytest.raises(
        CurateError, match=r"stage `Unfinished` \(toy_stages:Unfinished\) failed: ValueError: no such model"
    ) as caught:
        project.run()
    assert "toy_stages.py:" in (caught.value.where or "")


@pytest.mark.slow
def test_a_stage_that_kills_every_worker_ends_the_run(project):
    project.write("in.txt", "hello")
    project.stages("Unfinished, how: kill")
    with pytest.raises(InternalError, match=r"a shard of `in\.txt` killed 8 workers; is there enough memory"):
        project.run()


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_run(project, monkeypatch, tmp_path):
    project.write("in.txt", "hello")
    project.stages()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "ctypes.py").write_text("raise SystemExit(3)")
    with pytest.raises(InternalError, match="worker processes do not start"):
        project.run()


@pytest.mark.slow
def test_the_time_limit_is_on_calls_and_not_on_loading(project):
    project.write("in.txt", "hello")
    project.stages("Shout", "Unfinished, how: slow", time_limit=1)
    assert project.run().documents["quarantined"] == 0


def workers_of(process):
    try:
        return [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_workers_that_are_killed_from_outside_change_nothing(project, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "0.004")
    for name in "abc":
        project.write(f"{name}.txt", *(f"SLOW line {i} of {name}" for i in range(40)))
    project.stages("Shout", "Letters", "Copies")
    undisturbed = project.run(store=project.root / "other", workers=2).version
    project.calls()
    draw, log, killed, calls = random.Random(5), Path(os.environ["TOY_LOG"]), 0, 0
    process = project.start("run", "pipeline.yaml", "--workers", 2)
    while process.poll() is None:
        now = log.read_text().count("\n")
        if killed < 4 and now > calls + 1:
            time.sleep(draw.uniform(0, 0.3))
            for worker in sorted(workers_of(process), key=lambda worker: worker.pid)[-1:]:
                os.kill(worker.pid, signal.SIGKILL)
                killed, calls = killed + 1, now
        time.sleep(0.01)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    assert killed, err
    assert project.open().version == undisturbed


def test_interrupting_stops_with_130_and_the_same_command_goes_on(project, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "0.05")
    project.write("a.txt", *(f"SLOW line {i}" for i in range(60)))
    project.stages("Shout")
    process = project.start("run", "pipeline.yaml", "--workers", 1, "--json")
    log = Path(os.environ["TOY_LOG"])
    while not (log.exists() and "Shout" in log.read_text()):
        time.sleep(0.02)
    children = workers_of(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err.splitlines()[-1]) == (
        130,
        "interrupted; finished work is kept, the same command goes on from there",
    )
    assert '"problem": "interrupted"' in out
    assert not [child for child in children if child.is_running()]
    monkeypatch.setenv("TOY_SLEEP", "0")
    assert project.run().tasks["cached"] == 5  # reading, and the check of the ids


@pytest.mark.slow
def test_what_was_measured_before_a_document_cost_its_worker_is_not_measured_again(project):
    """With the documents behind it in the same batch: about twice all of them, and a few once more for each killer."""
    project.write("in.txt", *lines("KILL", 20, 70, 120, count=200))
    project.stages("Shout, id: it")
    assert project.run().documents["quarantined"] == 3
    assert project.calls()["Shout"] < 3 * 200


OWN = """
import pyarrow as pa
from curate.stages.contract import Effect, Expander, Expansion, Filter, Global, Reduced
from curate.stages.verdicts import Verdicts


class Same(Expander):
    def open(self):
        ids = lambda batch: pa.array(["same"] * batch.num_rows)
        return lambda batch: Expansion(pa.array(range(batch.num_rows)), {"text": batch.column("text"), "id": ids(batch)})


class Twice(Filter):
    def open(self):
        return lambda batch: pa.table({"x": [1.0] * batch.num_rows})

    def decide(self, features):
        verdicts = Verdicts()
        verdicts.edit(0, "EDITED", "first")
        verdicts.drop(0, "second")
        return verdicts.table()


class Before(Global):
    def open(self):
        return lambda batch: pa.table({"x": [1.0] * batch.num_rows})

    def reduce(self, signatures):
        verdicts = Verdicts()
        verdicts.drop(-1, "last")
        return Reduced(verdicts.table())


class NoModel(Filter):
    def open(self):
        open("/nowhere/model.bin", "rb")
"""


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        ("Same", "stage `own` gives a column named `id`"),
        ("Twice", "stage `own` decides twice about a document"),
        ("Before", r"stage `Before` decides about row -1 of \d+ documents"),
        ("NoModel", "stage `own` needs `/nowhere/model.bin`, and that cannot be used: No such file or directory"),
    ],
)
def test_what_a_stage_of_ones_own_must_not_do_is_told_with_its_name(project, stage, problem):
    project.write("own_stages.py", OWN)
    project.write("a.jsonl", '{"text": "a"}', '{"text": "b"}')
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: a.jsonl}]\n"
        f"stages: [{{stage: 'own_stages:{stage}', id: own}}]\n"
    )
    with pytest.raises(CurateError, match=problem):
        project.run()


DAMAGE = ["{}", '{"objects": []}', '{"x": [["y"]]}', '{"stages": {"lines": {}}}', "[]", "{", '{"stages": []}']


@pytest.mark.parametrize("folder", ["receipts", "measured", "plans"])
def test_damaged_files_that_only_save_time_are_made_anew(done, folder):
    version = done.open().version
    for number, path in enumerate(sorted((done.root / ".curate" / folder).rglob("*.json"))):
        path.write_text(DAMAGE[number % len(DAMAGE)])
    if folder != "receipts":
        for path in (done.root / ".curate" / "receipts").rglob("*.json"):
            path.unlink()
    assert done.cli("plan", "pipeline.yaml").code == 0
    assert done.cli("data", "gc", "--dry-run").code == 0
    assert done.run().version == version
