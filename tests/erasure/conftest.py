"""A project whose data names a person in every place that there is, after a run; and a look at every byte of its store."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from toy_project import Project, project  # noqa: E402, F401

EMAIL, PHONE, NAME = "jane.doe@example.com", "+49 30 901820", "Jane Doe"
SECRET = "MARIGOLD"
"""A word of the documents that go as a whole."""
OTHER = "HYACINTH"
CANARIES = (EMAIL, "4930901820", "90-18-20", "Jane Doe", "JANE DOE", "Jos\u00e9", SECRET, "ticket-5", "jane-doe")
SUBJECT = f"""\
emails: [Jane.Doe@Example.com]
phones: ["{PHONE}"]
names: [{NAME}]
documents: [ticket-5]
"""
PIPELINE = """\
dataset: toy
sources:
  - {stage: files, paths: ["in/*.jsonl"]}
stages:
  - {stage: "toy_stages:Shout", id: shout, word: number}
  - {stage: exact_duplicates}
  - {stage: "toy_stages:Long", id: long, minimum: 20}
  - {stage: split, train: 0.8, validation: 0.1, test: 0.1}
"""


def plain(number, **more):
    text = f"Ticket number {number} tells of a parcel that did not arrive, and of the weather in the harbour."
    return {
        "id": f"ticket-{number}",
        "text": text,
        "messages": [{"role": "user", "content": "hello"}],
        "phone": number,
        **more,
    }


def documents():
    rows = [plain(number) for number in range(40)]
    for number in (3, 4, 17):
        rows[number]["text"] += f" Write to {EMAIL.upper()}, or call (030) 90-18-20, {NAME} said."
    rows[5]["text"] += f" {SECRET} and no more."
    rows[6]["messages"] = [{"role": "user", "content": f"first\nJane Doe\n{EMAIL}"}]
    rows[7]["phone"] = 4930901820
    rows[8] = plain(8, text=f"{NAME} said")  # dropped as short
    rows[9] = {**rows[5], "id": "copy-of-5"}
    rows[10]["text"] = rows[3]["text"]
    rows[11]["id"] = EMAIL
    return rows


def fill(made_project):
    folder = made_project.root / "in"
    folder.mkdir()
    lines = [json.dumps(row) for row in documents()]
    (folder / "tickets.jsonl").write_text("\n".join([*lines, f'{{"broken {EMAIL}', ""]))
    made = [
        json.dumps({"text": f"A line without an id, number {n}, {OTHER if n == 2 else 'nothing'} in it."})
        for n in range(5)
    ]
    (folder / "jane-doe.jsonl").write_text("\n".join([*made, ""]))
    made_project.pipeline(PIPELINE)
    return made_project


@pytest.fixture(scope="session")
def folder_with_a_person(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tickets")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        patch.setenv("PYTHONPATH", FOLDER, prepend=":")
        patch.delenv("CURATE_STORE", raising=False)
        fill(Project(root, None, patch)).run()  # type: ignore[arg-type]
    return root


@pytest.fixture
def person(project, place, folder_with_a_person):  # noqa: F811
    """The project after a run, with a subject file."""
    shutil.copytree(folder_with_a_person, project.root, dirs_exist_ok=True)
    if place.server:
        (project.root / ".curate").rename(project.root / "copied")
        place.server.copy(project.root / "copied", project.place.removeprefix("s3://bucket/"))
        shutil.rmtree(project.root / "copied")
    (project.root / "subject.yaml").write_text(SUBJECT)
    return project


def cells(value):
    """All that a table holds, as text."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return "\n".join(cells(one) for pair in value.items() for one in pair)
    return "\n".join(map(cells, value)) if isinstance(value, list | tuple) else str(value)


def everything(store):
    """Every byte of a store as text, by name: of tables, every column of every row, and the bytes too."""
    for folder in ("objects", "versions", "refs", "receipts", "measured", "annotations", "runs", "plans", "erasures",
                   "leases", "tokens", "temporary"):  # fmt: skip
        for blob in store.blobs.list(folder):
            content = store.blobs.read(blob.name)
            said = [blob.name, content.decode("latin-1"), content.decode("utf-8", "replace")]
            if blob.name.endswith(".parquet"):
                table = parquet.read_table(pa.BufferReader(content))
                said += [cells(table.column_names), cells([column.to_pylist() for column in table.columns])]
            yield blob.name, "\n".join(said)
    yield "inputs.json", store.blobs.read("inputs.json").decode() if store.blobs.exists("inputs.json") else ""


def canaries(store, words=CANARIES):
    """Which of the words still stand in a store, and where."""
    return [(word, name) for name, said in everything(store) for word in words if word.casefold() in said.casefold()]
