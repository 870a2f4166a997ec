"""What was made once and is found again in the store is written as it was made: a version has the same id whatever happened."""

from __future__ import annotations

import pytest

STAGES = {
    "spans with a rule": "{stage: pii, id: made}",
    "a column of lists and one of seconds": '{stage: "toy_lists:Words", id: made}',
}


@pytest.fixture(params=STAGES.values(), ids=STAGES)
def listed(request, project):
    """A project whose stage makes what Parquet does not give back as it was."""
    lines = (f"write to no{n}@example.org of the parcel number {n}" for n in range(30))
    project.write("in.txt", *lines, "abc")
    ends = [
        '{stage: "toy_stages:Long", id: long, minimum: 5}',
        f'{{stage: "toy_lists:Dies", id: dies, marker: {project.root}/marker}}',
    ]
    stages = "".join(f"  - {one}\n" for one in (request.param, *ends))
    project.pipeline(f'dataset: toy\nsources: [{{stage: "toy_stages:Lines", id: lines}}]\nstages:\n{stages}')
    return project


def fresh(project, *overrides):
    return project.run(*overrides, store=project.root / "fresh").version


def test_a_threshold_changed_behind_it_gives_the_version_of_a_fresh_run(listed):
    listed.run()
    assert listed.run("long.minimum=2").version == fresh(listed, "long.minimum=2")


def test_a_stage_that_is_forced_behind_it_gives_the_version_of_a_fresh_run(listed):
    listed.run()
    assert listed.run(force=["long"]).version == fresh(listed)


@pytest.mark.slow
def test_a_worker_that_dies_behind_it_changes_no_version(listed):
    (listed.root / "marker").touch()
    version = listed.run().version
    assert not (listed.root / "marker").exists()
    assert version == fresh(listed)
