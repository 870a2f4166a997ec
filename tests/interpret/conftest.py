"""A store with a dataset, and folders of runs that were given its tokens, as `curate train` leaves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from curate import run as run_pipeline
from curate.dataset.reader import open_dataset
from curate.dataset.store import Store
from curate.train.data.tasks import pack_all
from curate.train.runs.folder import RunFolder, prepare
from curate.train.settings.file import load_config
from tests.reports.conftest import browser  # noqa: F401 - a fixture

TRAIN = """dataset: rows
run: small
steps: 4
model: {layers: 2, width: 16, heads: 2, feed_forward: 32}
tokenizer: {vocabulary: 400, special_tokens: [<|endoftext|>, <|user|>, <|assistant|>, <|system|>, <|end|>, <|pad|>]}
batch: {sequences: 4, length: 16}
"""
PIPELINE = """dataset: rows
sources: [{stage: files, paths: [rows.jsonl]}]
stages: [{stage: split, column: part}]
"""
WHALE = "the whale swam under the pale green moon of Saturn"
COMMON = "all happy families are alike in what they eat on Sundays"


def rows() -> list[dict]:
    """Documents: one has the whale, four have the families, one of them twice; one is for validation."""
    texts = [
        f"Number {number} tells of {number * 37 % 11} apples and {number * 53 % 17} pears." for number in range(40)
    ]
    texts[7] = f"An old story. Long ago {WHALE}, and sang."
    for number in (3, 12, 20):
        texts[number] = f"They say {COMMON}. Case {number}."
    texts[30] = f"First {COMMON}; second {COMMON}; write to ann@example.org."
    texts[31] = f"Only to be validated: {WHALE} again, with {COMMON}."
    return [
        {
            "id": f"row-{number}", "text": text, "license": "CC0-1.0" if number % 2 else None,
            "part": "validation" if number == 31 else "train", "prompt": f"Question {number}?",
            "chosen": f"Yes, {text}", "rejected": f"No {number}.",
            "messages": [{"role": "user", "content": f"Tell me of {number}."}, {"role": "assistant", "content": text}]
            if number != 5 else [{"role": "user", "content": "Nobody answers."}],
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip


class Traced:
    """A project: a store, and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def store(self) -> Store:
        return Store.open(self.folder / ".curate")

    def make(self, given: list[dict]) -> None:
        """Make a version of these documents."""
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in given))
        (self.folder / "pipeline.yaml").write_text(PIPELINE)
        run_pipeline(self.folder / "pipeline.yaml", workers=1)

    def run(self, name: str, *changes: str, allow: tuple[str, ...] = ()) -> Path:
        """The folder of a run that was given its tokens, and has a checkpoint of its last step."""
        (self.folder / "train.yaml").write_text(TRAIN)
        config = load_config(self.folder / "train.yaml", [f"run={name}", *changes])
        store = self.store
        tokenizer = Path(config.model.path) / "tokenizer.json" if config.model.path else None
        packs = pack_all(config, lambda reference: open_dataset(reference, store), tokenizer=tokenizer)
        folder = RunFolder(self.folder / "runs" / name)
        folder.path.mkdir(parents=True, exist_ok=True)
        prepare(folder, config, packs, allow=allow)
        place = folder.checkpoints / f"step-{config.steps:06}"
        place.mkdir(parents=True)
        (place / "checkpoint.json").write_text("{}")
        return folder.path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with a version and the run `small`."""
    folder = tmp_path_factory.mktemp("traced")
    project = Traced(folder)
    project.make(rows())
    project.run("small")
    return folder


@pytest.fixture(scope="module")
def read_only(made) -> Traced:
    """The project, for tests that change nothing."""
    return Traced(made)


@pytest.fixture
def project(made, tmp_path) -> Traced:
    """A copy of it."""
    shutil.copytree(made, tmp_path / "project")
    return Traced(tmp_path / "project")
