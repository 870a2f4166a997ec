"""Which store a command means: the option, the variable, then what is found from where one stands."""

from __future__ import annotations

import json

import pytest

from curate.dataset.find import find_store
from curate.dataset.store import Store
from curate.errors import CurateError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CURATE_STORE", raising=False)


def make(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Store.open(folder / ".curate", create=True)


def found(here):
    return find_store(anywhere=here).root.resolve()


def test_the_store_is_the_option_then_the_variable_then_the_one_that_is_near(tmp_path, monkeypatch):
    for name in ("a", "b"):
        make(tmp_path / name)
    make(tmp_path)
    assert find_store().root.name == ".curate"
    monkeypatch.setenv("CURATE_STORE", str(tmp_path / "a" / ".curate"))
    assert find_store().root == tmp_path / "a" / ".curate"
    assert find_store(tmp_path / "b" / ".curate").root == tmp_path / "b" / ".curate"


def test_the_store_of_a_project_is_found_from_above_inside_and_below(tmp_path):
    store = make(tmp_path / "work" / "project")
    inside = tmp_path / "work" / "project" / "data" / "raw"
    inside.mkdir(parents=True)
    for here in (tmp_path / "work", tmp_path / "work" / "project", inside):
        assert found(here) == store.root.resolve()


def test_the_nearest_store_counts_and_that_of_the_folder_itself_before_all(tmp_path):
    outer, inner = make(tmp_path), make(tmp_path / "project")
    assert found(tmp_path) == outer.root.resolve()
    assert found(tmp_path / "project") == inner.root.resolve()
    (tmp_path / "other" / "deep").mkdir(parents=True)
    assert found(tmp_path / "other" / "deep") == outer.root.resolve()


def test_of_several_stores_below_none_is_meant(tmp_path):
    for name in ("b", "a"):
        make(tmp_path / name)
    with pytest.raises(CurateError, match="there are 2 stores below this folder") as caught:
        find_store()
    assert caught.value.hint == "name one with --store: `a/.curate`, `b/.curate`"


def test_a_folder_named_like_a_store_that_is_none_is_passed_over(tmp_path):
    (tmp_path / ".curate").mkdir()
    store = make(tmp_path / "project")
    assert found(tmp_path) == store.root.resolve()


def test_where_no_store_is_the_ways_to_name_one_are_told(tmp_path):
    with pytest.raises(CurateError, match=r"there is no store at `\.curate`, above it or one folder below") as caught:
        find_store()
    hint = "name it with --store DIR or CURATE_STORE; `curate run` makes one beside the pipeline file"
    assert caught.value.hint == hint


def test_a_store_that_is_named_and_not_there_is_an_error(tmp_path):
    make(tmp_path)
    with pytest.raises(CurateError, match="there is no store at `elsewhere`"):
        find_store("elsewhere")


def test_run_and_the_other_commands_find_the_same_store(project, monkeypatch):
    """`curate run project/pipeline.yaml` from above, then `data list` from above, beside and inside."""
    project.write("a.txt", "one")
    project.stages()
    (project.root / "inside").mkdir()
    version = json.loads(project.call("run", "project/pipeline.yaml", "--json", cwd=project.root.parent).out)["version"]
    for here in (project.root.parent, project.root, project.root / "inside"):
        listed = json.loads(project.call("data", "list", "--json", cwd=here).out)
        assert [row["version"] for row in listed["datasets"]] == [version]
