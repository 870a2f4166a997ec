"""A project in a temporary folder: input files, a pipeline file, and short ways to run, plan and call the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).resolve().parent

PIPELINE = """\
dataset: toy
sources:
  - {stage: "toy_stages:Lines", id: lines}
stages:
  - {stage: "toy_stages:Shout", id: shout}
  - {stage: "toy_stages:Long", id: long, minimum: 5}
  - {stage: "toy_stages:Letters", id: letters}
  - {stage: "toy_stages:Copies", id: copies}
"""


class Outcome(NamedTuple):
    """What a command did: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@dataclass
class Project:
    """A pipeline file and its input in a folder."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    place: str = ""
    noted: int = 0
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.root / "pipeline.yaml"

    @property
    def location(self) -> str:
        """Path or URL of the store."""
        return self.place or str(self.root / ".curate")

    @property
    def store(self):
        from curate.dataset.store import Store

        return Store.open(self.location)

    def write(self, name: str, *lines: str) -> Path:
        path = self.root / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def pipeline(self, text: str = PIPELINE) -> Path:
        self.file.write_text(text)
        return self.file

    def stages(self, *stages: str, **settings: object) -> Path:
        """A pipeline of the toy source and these stages: `"Shout, word: b"`."""
        entries = [
            f'  - {{stage: "toy_stages:{stage.partition(",")[0]}"{stage[len(stage.partition(",")[0]) :]}}}'
            for stage in stages
        ]
        general = [f"{key}: {value}" for key, value in settings.items()]
        head = [
            "dataset: toy",
            *general,
            'sources: [{stage: "toy_stages:Lines", id: lines}]',
            "stages:" if stages else "stages: []",
        ]
        return self.pipeline("\n".join([*head, *entries, ""]))

    def run(self, *overrides: str, **options):
        import curate

        return curate.run(self.file, overrides=overrides, **{"workers": 1, **options})

    def plan(self, *overrides: str) -> dict[str, dict]:
        from curate.config.pipeline import load_pipeline
        from curate.pipeline.explain import explain

        return {row["id"]: row for row in explain(load_pipeline(self.file, overrides), self.store)}

    def open(self, name: str = "toy"):
        import curate

        return curate.open_dataset(name, self.location)

    def texts(self, name: str = "toy") -> list[str]:
        return self.open(name).arrow().column("text").to_pylist()

    def calls(self) -> dict[str, int]:
        """How many documents each stage was called with since this was last asked."""
        log = Path(os.environ["TOY_LOG"])
        lines = log.read_text().splitlines() if log.exists() else []
        counted: Counter[str] = Counter()
        for line in lines[self.noted :]:
            name, count = line.split()
            counted[name] += int(count)
        self.noted = len(lines)
        return dict(counted)

    def cli(self, *arguments: object) -> Outcome:
        """Call the command line in this process."""
        from curate.cli import main

        self.monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        self.monkeypatch.chdir(self.root)
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = self.capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), out, err)

    def start(self, *arguments: object, **options) -> subprocess.Popen:
        """Start the command line as a process of its own, as users do: tests look at it, and at its children."""
        return self._start(arguments, {"env": {**os.environ, "CURATE_TEST_COLD": "1"}, **options})

    def _start(self, arguments: tuple[object, ...], options: dict[str, Any]) -> subprocess.Popen:
        command = [sys.executable, "-m", "curate.cli", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.root}
        process = subprocess.Popen(command, **{**pipes, **options})
        self.started.append(process)
        return process

    def call(self, *arguments: object, **options) -> Outcome:
        """Run the command line as a process of its own."""
        process = self._start(arguments, options)
        out, err = process.communicate()
        return Outcome(process.returncode, out, err)


@pytest.fixture
def project(tmp_path, monkeypatch, capsys, place) -> Iterator[Project]:
    """An empty project; the toy stages can be imported by it and by its workers."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "calls.log"))
    monkeypatch.delenv("CURATE_STORE", raising=False)
    monkeypatch.delenv("CURATE_DEBUG", raising=False)
    made = Project(root, capsys, monkeypatch)
    if place.server:
        made.place = place.store("project")
        monkeypatch.setenv("CURATE_STORE", made.place)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def toy(project) -> Project:
    """A project with two input files and all kinds of stages, not run yet."""
    return fill(project)


@pytest.fixture(scope="session")
def folder_after_a_run(tmp_path_factory) -> Path:
    """The folder of the toy project after a run."""
    root = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        patch.delenv("CURATE_STORE", raising=False)
        fill(Project(root, None, patch)).run()  # type: ignore[arg-type]
    return root


@pytest.fixture
def done(project, place, folder_after_a_run) -> Project:
    """The toy project after a run."""
    shutil.copytree(folder_after_a_run, project.root, dirs_exist_ok=True)
    if place.server:
        (project.root / ".curate").rename(project.root / "copied")
        place.server.copy(project.root / "copied", project.place.removeprefix("s3://bucket/"))
        shutil.rmtree(project.root / "copied")
    return project


def fill(project: Project) -> Project:
    """Write the toy project's files."""
    project.write("one.txt", *(f"alpha number {i}" for i in range(30)), "abc", "!broken", "the same text")
    second = (f"second file, number {i}" for i in range(25))
    project.write("two.txt", *second, "the same text", "xyz", "own-id|text with an id")
    project.pipeline()
    return project
