"""Every training file in examples/train is one that `curate train` takes."""

from __future__ import annotations

import pytest

from curate.train.settings.file import load_config
from tests.golden import REPOSITORY

FOLDER = REPOSITORY / "examples" / "train"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid_and_begins_with_what_it_does(name):
    assert load_config(FOLDER / name).run
    assert (FOLDER / name).read_text().startswith("# ")


def test_the_readme_lists_all_of_them_and_no_other():
    readme = (FOLDER / "README.md").read_text()
    listed = {line.split("`")[1] for line in readme.splitlines() if line.startswith("- `")}
    assert listed == set(FILES)
