"""What runs again after a change, what does not, and that `plan` says so before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from curate.dataset.leases import lease
from curate.dataset.store import object_name
from curate.errors import CurateError

ALL = {"lines", "shout", "long", "letters", "copies"}


def planned(project, *overrides):
    """(stages that the plan says are cached, why by stage that will run)."""
    rows = project.plan(*overrides)
    cached = {name for name, row in rows.items() if row["action"] == "cached"}
    return cached, {name: row["why"] for name, row in rows.items() if name not in cached}


def old(path):
    """Make a file look as if it was written an hour ago."""
    facts = path.stat()
    os.utime(path, (facts.st_atime - 3600, facts.st_mtime - 3600))


def test_before_the_first_run_everything_will_run(toy):
    from curate.config.pipeline import load_pipeline
    from curate.pipeline.explain import explain

    rows = explain(load_pipeline(toy.file), None)
    assert {row["why"] for row in rows} == {"there is no store yet"}
    assert {row["action"] for row in rows} == {"will run"}


@pytest.mark.anywhere
def test_without_a_change_nothing_will_run(done):
    cached, why = planned(done)
    assert (cached, why) == (ALL, {})
    assert done.plan()["copies"]["cached"] == 5


@pytest.mark.anywhere
def test_a_changed_threshold_decides_again_and_measures_nothing(done):
    assert planned(done, "long.minimum=6") == (
        {"lines", "shout"},
        {
            "long": "setting `minimum` changed: 5 -> 6",
            "letters": "only documents that `long` lets in",
            "copies": "only documents that `long` lets in",
        },
    )
    assert done.plan("long.minimum=6")["long"]["action"] == "decide"
    done.run("long.minimum=6")
    assert done.calls() == {}


def test_a_changed_threshold_measures_nothing_again_of_the_documents_that_stay(done):
    done.run("long.maximum=15")
    assert done.calls() == {"reduce": 33}


def test_a_changed_threshold_lets_what_follows_measure_the_newcomers_alone(done):
    done.run("long.minimum=1")
    assert done.calls() == {"Letters": 2, "Copies": 2, "reduce": 60}


@pytest.mark.anywhere
def test_a_threshold_set_back_is_cached(done):
    first = done.open().version
    done.run("long.minimum=16")
    again = done.run()
    assert (again.version, again.tasks["run"], again.tag) == (first, 0, "v1")


def test_a_changed_setting_that_measures_reruns_that_stage(done):
    assert planned(done, "long.scale=2")[1]["long"] == "setting `scale` changed: 1 -> 2"
    done.run("long.scale=2")
    assert set(done.calls()) == {"Long", "Letters", "Copies", "reduce"}


def test_a_changed_setting_without_effect_leaves_what_follows_cached(done):
    version = done.open().version
    again = done.run("shout.word=q")
    assert set(done.calls()) == {"Shout", "Long", "Letters", "Copies", "reduce"}
    again = done.run("shout.word=j")
    assert done.calls() == {"Shout": 60}
    assert again.version != version


def test_a_changed_audit_reruns_only_itself(done):
    done.run("letters.letter=x")
    assert set(done.calls()) == {"Letters"}


def test_a_changed_global_stage_reruns_only_itself(done):
    assert planned(done, "copies.keep=true")[0] == ALL - {"copies"}
    assert done.run("copies.keep=true").documents["kept"] == 58
    assert set(done.calls()) == {"Copies", "reduce"}


def test_a_setting_of_the_pipeline_reruns_no_stage(done):
    again = done.run("time_limit=61")
    assert (again.tasks["run"], done.calls()) == (0, {})


def test_a_raised_stage_version_reruns_it_and_what_depends_on_it(done, monkeypatch):
    import toy_stages

    monkeypatch.setattr(toy_stages.Letters, "version", 2)
    cached, why = planned(done)
    assert cached == {"lines", "shout", "long"}
    assert why["letters"] == "the stage's code changed: version 1 -> 2"
    done.run()
    assert set(done.calls()) == {"Letters"}


def test_another_library_version_reruns_the_stages_that_name_it(done, monkeypatch):
    from curate.pipeline import fingerprint

    monkeypatch.setattr(fingerprint, "_library_version", lambda name: "9.9")
    assert planned(done)[1]["shout"] == "pyarrow changed"
    done.run()
    assert set(done.calls()) == {"Shout"}


def test_another_content_of_a_model_file_reruns_the_stage_that_uses_it(project, tmp_path):
    project.write("a.txt", "one", "two")
    model = tmp_path / "model.bin"
    model.write_text("first")
    project.stages(f"Label, id: label, model: {model}", "Letters, id: letters")
    project.run()
    model.write_text("other")
    cached, why = planned(project)
    assert cached == {"lines"}
    assert why["label"] == "model.bin changed"
    project.run()
    assert project.open().arrow().column("label").to_pylist() == ["other", "other"]


def test_a_model_file_that_is_not_there_is_an_error(project, tmp_path):
    project.write("a.txt", "one")
    project.stages(f"Label, model: {tmp_path}/none.bin")
    with pytest.raises(CurateError, match=r"the file `.*none.bin` cannot be read: No such file"):
        project.run()


def test_a_touched_input_is_cached(done):
    os.utime(done.root / "one.txt")
    assert planned(done) == (ALL, {})
    assert done.run().tasks["run"] == 0


def test_a_changed_input_reruns_its_shards_alone(done):
    text = (done.root / "two.txt").read_text()
    done.write("two.txt", text.replace("xyz", "a longer line")[:-1])
    cached, why = planned(done)
    assert cached == set()
    assert why["lines"] == "new or changed: two.txt"
    assert why["shout"] == "depends on `lines`, which runs"
    done.run()
    assert done.calls() == {"Lines": 1, "Shout": 28, "Long": 28, "Letters": 28, "Copies": 28, "reduce": 59}


def test_an_input_of_the_same_size_with_other_content_is_read_again(done):
    path = done.root / "two.txt"
    old(path)
    done.plan()
    before = path.stat()
    path.write_text(path.read_text().replace("xyz", "xyy"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned(done)[1]["lines"] == "new or changed: two.txt"
    done.run()
    assert "Lines" in done.calls()


def test_a_new_input_reruns_what_it_brings(done):
    done.write("three.txt", "a third file, with a line")
    done.run()
    assert done.calls() == {"Lines": 1, "Shout": 1, "Long": 1, "Letters": 1, "Copies": 1, "reduce": 59}


def test_an_input_that_is_gone_reruns_only_what_needs_all_documents(done):
    (done.root / "two.txt").unlink()
    done.run()
    assert done.calls() == {"reduce": 31}


def test_a_new_stage_runs_and_says_so(done):
    done.file.write_text(done.file.read_text() + '  - {stage: "toy_stages:Letters", id: more}\n')
    assert planned(done) == (ALL, {"more": "new in this pipeline"})
    done.run()
    assert done.calls() == {"Letters": 57}


def test_a_renamed_stage_is_cached_under_its_new_name(done):
    done.file.write_text(done.file.read_text().replace("id: long", "id: length_filter"))
    again = done.run()
    assert done.calls() == {}
    assert [row["id"] for row in again.stages if row["dropped"]] == ["length_filter", "copies"]


def test_a_removed_stage_reruns_what_follows(done):
    lines = done.file.read_text().splitlines()
    done.pipeline("\n".join(line for line in lines if "Shout" not in line) + "\n")
    done.run()
    assert set(done.calls()) == {"Long", "Letters", "Copies", "reduce"}


def test_a_stage_that_is_forced_runs_again_alone(done):
    done.run(force=["letters"])
    assert set(done.calls()) == {"Letters"}


def test_a_filter_that_is_forced_measures_again(done):
    done.run(force=["long"])
    assert set(done.calls()) == {"Long"}


def test_a_global_stage_that_is_forced_runs_again(done):
    version = done.open().version
    again = done.run(force=["copies"])
    assert set(done.calls()) == {"Copies", "reduce"}
    assert again.version == version


def test_a_source_that_is_forced_is_read_again(done):
    assert done.run(force=["lines"]).tasks["run"] == 2
    assert done.calls() == {"Lines": 2}


def test_an_object_that_is_gone_is_made_again(done):
    version = done.open().version
    fragment = done.open().fragments[0]
    done.store.blobs.delete(object_name(fragment.object))
    again = done.run()
    assert (again.version, done.open().arrow().num_rows) == (version, 57)


def test_a_changed_variable_reruns_the_stage_without_telling_its_value(done, monkeypatch):
    monkeypatch.setenv("TOKEN", "first-secret")
    done.run("shout.token=${env:TOKEN}")
    monkeypatch.setenv("TOKEN", "other-secret")
    why = planned(done, "shout.token=${env:TOKEN}")[1]["shout"]
    assert why == "setting `token` changed (it comes from the environment)"
    done.calls()
    done.run("shout.token=${env:TOKEN}")
    assert done.calls() == {"Shout": 60}


@pytest.mark.parametrize(
    "change", ["long.minimum=6", "long.scale=2", "letters.letter=x", "copies.keep=true", "shout.word=xyz"]
)
def test_what_the_plan_calls_cached_does_not_run(done, change):
    rows = done.plan(change)
    seconds = {row["id"]: row["seconds"] for row in done.run(change).stages}
    for name, row in rows.items():
        if row["action"] == "cached":
            assert seconds[name] == 0


def test_a_plan_needs_no_right_to_write(done, monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EACCES, "permission denied")

    before = done.plan("copies.keep=true")
    done.write("three.txt", "a new line")
    for name in ("write", "publish", "hold"):
        monkeypatch.setattr(type(done.store.blobs), name, forbidden)
    assert before["copies"]["action"] == "will run"
    assert done.plan("copies.keep=true")["lines"]["why"] == "new or changed: three.txt"


def test_no_plan_is_made_while_garbage_is_collected(done):
    with lease(done.store, "collect"), pytest.raises(CurateError, match="in use by another process"):
        done.plan()


def test_changed_shares_of_a_split_write_no_text(project):
    project.write("in.txt", *(f"b {number}" for number in range(50)))
    head = 'dataset: toy\nsources: [{stage: "toy_stages:Lines"}]\nstages: [{stage: "toy_stages:Shout"}, '
    splits = []
    for train in (0.8, 0.5):
        before = {blob.name for blob in project.store.blobs.list("objects")} if splits else set()
        project.pipeline(f"{head}{{stage: split, train: {train}, validation: {0.9 - train:.1f}, test: 0.1}}]\n")
        project.run()
        splits.append(project.open().splits)
    new = {blob.name for blob in project.store.blobs.list("objects")} - before
    columns = [project.store.read_schema(Path(name).stem).names for name in new]
    assert splits[0] != splits[1]
    assert ["row", "#ident", "split"] in columns
    assert [names for names in columns if "text" in names] == []
