"""What strangers' data must not do: run code, leave its folder, tell a secret. SECURITY.md has the whole list of attacks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.files import write_durably

EMAIL, CARD, KEY = "zelda.quux@hyrule-mail.com", "4111 1111 1111 1111", "AKIAQ3EGRVJ7D5XKPN2M"
SECRETS = [secret.encode() for secret in (EMAIL, CARD, KEY)]
PROTECTED = """\
dataset: toy
sources: [{stage: files, paths: in.jsonl}]
stages:
  - {stage: pii, on: ["*"]}
  - {stage: gopher_quality, min_words: 3, min_stop_words: 0}
  - {stage: near_duplicates}
"""


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.write_text, (self.canary, "it ran")


@pytest.mark.parametrize(
    "name", ["a.pkl", "a.npy", "a.pt", "a.bin", "a.joblib", "a.arrow", "a.parquet", "a.jsonl", "a.txt"]
)
def test_a_pickle_in_a_folder_of_data_is_never_loaded(project, tmp_path, name):
    canary = tmp_path / "canary"
    (project.root / "in").mkdir()
    (project.root / "in" / name).write_bytes(pickle.dumps(Trap(canary)))
    for form in ("", ", format: binary"):
        project.pipeline(
            f"dataset: toy\nmin_documents: 0\nsources: [{{stage: files, paths: 'in/*'{form}}}]\nstages: []\n"
        )
        try:
            project.run()
        except CurateError as error:
            assert name in f"{error.problem}{error.where}"
    assert not canary.exists()


def test_ids_of_documents_are_never_paths(project, tmp_path):
    ids = [
        "../../../escaped",
        "/" + str(tmp_path)[1:] + "/escaped",
        "CON",
        "a\0b",
        "a/b\\c",
        "..",
        ".",
        "~/x",
        "x" * 5000,
    ]
    project.write(
        "in.jsonl", *(json.dumps({"id": one, "text": f"words of {number}"}) for number, one in enumerate(ids))
    )
    project.pipeline("dataset: toy\nsources: [{stage: files, paths: in.jsonl}]\nstages: []\n")
    project.run()
    for form in ("jsonl", "csv", "parquet", "hf", "tfrecord"):
        assert project.cli("data", "export", "toy", "--format", form, "--out", f"out/{form}").code == 0
    assert project.cli("report", "toy", "--out", "out/r.html").code == 0
    for one in ids:
        assert json.loads(project.cli("why", "--json", "--", one).out)["id"] == one
    assert {path.name for path in tmp_path.iterdir()} <= {"project", "calls.log"}
    assert {path.name for path in project.root.iterdir()} == {".curate", "in.jsonl", "out", "pipeline.yaml"}
    assert "escaped" not in "".join(map(str, tmp_path.rglob("*")))


@pytest.mark.parametrize("name", ["../toy", "a/b", "..", "", "a\\b", "/toy", "toy\n", "x" * 300])
def test_names_of_datasets_are_never_paths(project, name):
    project.write("in.txt", "one")
    project.pipeline(f"dataset: {json.dumps(name)}\nsources: [{{stage: files, paths: in.txt}}]\nstages: []\n")
    with pytest.raises(CurateError):
        project.run()
    assert [path.name for path in project.root.iterdir() if path.suffix not in (".txt", ".yaml")] in ([], [".curate"])


def test_what_is_written_replaces_a_link_and_leaves_what_it_points_to(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out").symlink_to("victim")
    write_durably(tmp_path / "out", b"report")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "out").read_bytes() == b"report" and not (tmp_path / "out").is_symlink()


def test_an_export_does_not_empty_the_folder_that_a_link_points_to(project, tmp_path):
    project.write("in.txt", "one", "two")
    project.pipeline("dataset: toy\nsources: [{stage: files, paths: in.txt}]\nstages: []\n")
    project.run()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("precious")
    (project.root / "out").symlink_to(tmp_path / "home")
    project.cli("data", "export", "toy", "--format", "parquet", "--out", "out", "--overwrite")
    assert (tmp_path / "home" / "letter").read_text() == "precious"


def test_only_objects_with_texts_as_read_hold_what_pii_took_out(project, monkeypatch):
    """Whatever is said or shown (output, records, reports, exports, also when debugging) does not hold it."""
    monkeypatch.setenv("CURATE_DEBUG", "1")
    texts = [
        f"a letter of many words from {EMAIL} who pays with {CARD}",
        f"too {KEY}",
        "words that say nothing of anybody",
    ]
    rows = [{"id": f"d{number}", "text": text, "title": EMAIL} for number, text in enumerate(texts)]
    project.write("in.jsonl", *map(json.dumps, rows), '{"text": "half of ' + EMAIL)
    project.pipeline(PROTECTED)
    said = [project.call("run", "pipeline.yaml"), project.call("report", "toy", "--out", "r.html")]
    said += [project.call("data", command, "toy", "--json") for command in ("show", "log", "sample")]
    said += [project.call("why", f"d{number}", "--json") for number in range(3)]
    said += [project.call("data", "export", "toy", "--format", "jsonl", "--out", "out.jsonl")]
    assert [one.code for one in said] == [0] * len(said)
    told = "".join(one.out + one.err for one in said).encode()
    files = [path for path in project.root.rglob("*") if path.is_file() and path.name != "in.jsonl"]
    plain = {path: path.read_bytes() for path in files if path.suffix != ".parquet"}
    assert len(plain) > 10 and any(path.name == "r.html" for path in plain)
    for secret in SECRETS:
        assert secret not in told
        assert [path.name for path, content in plain.items() if secret in content] == []
