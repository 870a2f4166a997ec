"""The published recipes that `curate init --template` writes: each is checked, and runs on real text."""

from __future__ import annotations

import json
from pydoc_data.topics import topics

import pytest
from typer.testing import CliRunner

from curate import open_dataset, run
from curate.cli import app
from curate.commands.init import FOLDERS, TEMPLATES
from curate.config.pipeline import load_pipeline

RECIPES = [name for name in TEMPLATES if name not in FOLDERS]


def made(folder, name):
    outcome = CliRunner().invoke(app, ["init", str(folder), "--template", name])
    assert outcome.exit_code == 0, outcome.output
    assert f"put your files into {folder}/in" in outcome.output
    return folder / "pipeline.yaml"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_project_whose_settings_are_checked_and_whose_source_is_named(name, tmp_path):
    path = made(tmp_path / name, name)
    stages = [entry.name for entry in load_pipeline(path).stages]
    assert stages[-1] == "split"
    head = path.read_text().split("dataset:")[0]
    assert "et al. 20" in head
    assert "not here" in head.replace("\n# ", " ")
    assert sorted(one.name for one in (tmp_path / name).iterdir()) == ["README.md", "in", "pipeline.yaml", "train.yaml"]
    assert list((tmp_path / name / "in").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_on_real_text_and_keeps_and_drops_some_of_it(name, tmp_path):
    path = made(tmp_path, name)
    texts = list(topics.values())[:40] if name != "fineweb2" else GERMAN
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate([*texts, "", "too short"])]
    (tmp_path / "in" / "texts.jsonl").write_text("\n".join(lines))
    done = run(path, workers=1)
    assert done.documents["quarantined"] == 0
    assert 0 < done.documents["kept"] < done.documents["in"]
    assert open_dataset("my-text", tmp_path / ".curate").columns[:2] == ["id", "text"]


GERMAN = [
    f"Am {number}. Tag der Reise kamen wir an den Fluss, von dem die Leute im Dorf so viel gesprochen hatten. Er war breit "
    "und ruhig, und an seinem Ufer standen alte Weiden, unter denen sich das Vieh vor der Sonne verbarg. Der Mann mit dem "
    f"Boot wollte uns erst nicht holen, denn es war Abend; mit {number + 2} Talern tat er es dann doch, und wir schliefen auf "
    "der anderen Seite."
    for number in range(2, 12)
]
