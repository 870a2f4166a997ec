"""An erasure in an object store that dies at a write: what it held is over after a minute, and the same command goes on."""

from __future__ import annotations

import pytest

from curate.dataset.care import verify
from curate.dataset.erased import erasures
from curate.dataset.remote import LEASE_SECONDS
from tests.erasure.conftest import canaries

pytestmark = pytest.mark.slow


@pytest.fixture
def kind_of_place():
    return "s3"


@pytest.mark.parametrize(("part", "after"), [("versions/", 1), ("erasures/", 2), ("refs/", 1), ("erasures/", 3)])
def test_an_erasure_that_dies_is_finished_by_the_same_command(person, object_store, part, after):
    prefix = person.place.removeprefix("s3://bucket/")
    process = person.start("data", "erase", "--subject-file", "subject.yaml")
    object_store.kill(process.pid, f"{prefix}/{part}", after)
    process.communicate()
    object_store.kill(0, "-", 0)
    assert process.returncode < 0
    assert verify(person.open())["problems"] == []
    object_store.age(f"{prefix}/leases/", LEASE_SECONDS + 2)
    assert person.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    assert canaries(person.store) == []
    assert verify(person.open())["problems"] == []
    assert [one["state"] for one in erasures(person.store)] == ["done"]
