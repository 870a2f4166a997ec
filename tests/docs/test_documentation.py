"""The documentation is true: its commands, pipelines and scripts run; its generated pages are fresh."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import GOLDEN, REPOSITORY

PAGES = ["README.md", "docs/guide.md", "docs/training.md", "docs/planner.md", "docs/evaluation.md"]
BLOCK = re.compile(r"^```(yaml|python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LETTERS = [
    f"Dear reader number {number}, this letter says that {number} birds came to the {word} in the morning. " * 6
    for number, word in enumerate(["garden", "harbour", "station", "valley", "market", "river"] * 5)
]


@pytest.mark.parametrize("name", GOLDEN)
def test_generated_pages_are_fresh(name):
    assert (REPOSITORY / name).read_text() == GOLDEN[name](), "make docs"


def test_every_link_in_the_documentation_leads_somewhere():
    broken = []
    for page in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_decision_says_its_status_and_when_it_was_taken():
    status = re.compile(r"# \d+\. .+\n\nStatus: (proposed|accepted|superseded), \d{4}-\d\d-\d\d\.")
    pages = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert pages
    assert [page.name for page in pages if not status.match(page.read_text())] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES)
def test_the_code_in_the_documentation_runs(page, tmp_path):
    (tmp_path / "in").mkdir()
    records = [json.dumps({"id": f"letter-{number}", "text": text}) for number, text in enumerate(LETTERS)]
    (tmp_path / "in" / "letters.jsonl").write_text("\n".join(records))
    (tmp_path / "in" / "customers.csv").write_text("age,left\n31,yes\n47,no\n")
    subprocess.run([sys.executable, "-c", _COMPRESS], cwd=tmp_path, check=True)
    cwd = tmp_path
    for language, code in BLOCK.findall((REPOSITORY / page).read_text()):
        cwd = _run(language, code, cwd)


def test_the_plan_in_the_documentation_is_the_one_that_is_printed(tmp_path):
    blocks = dict(BLOCK.findall((REPOSITORY / "docs" / "planner.md").read_text()))
    (tmp_path / "train.yaml").write_text(blocks["yaml"])
    command, plan = blocks["console"].removeprefix("$ ").split("\n", 1)
    found = subprocess.run(command.split(), cwd=tmp_path, env=_environment(), capture_output=True, text=True)
    assert found.stdout.startswith(plan), found.stderr


_COMPRESS = (
    "import zstandard, pathlib; p = pathlib.Path('in/letters.jsonl');"
    "pathlib.Path('in/letters.jsonl.zst').write_bytes(zstandard.compress(p.read_bytes()))"
)


def _run(language: str, code: str, cwd: Path) -> Path:
    named = re.match(r"# (\S+\.(?:yaml|py))\n", code)
    path = cwd / (
        named[1] if named else {"yaml": "pipeline.yaml", "python": "script.py", "console": "script.sh"}[language]
    )
    if language == "console":
        lines = [line.removeprefix("$ ") for line in code.splitlines() if line.startswith("$ ")]
        path.write_text("set -e\n" + "\n".join(map(_smaller, lines)) + f"\npwd > {cwd}/.working-directory\n")
        _check(["bash", str(path)], cwd)
        return Path((cwd / ".working-directory").read_text().strip())
    path.write_text(code)
    if language == "yaml" and path.name != "train.yaml" and not code.startswith("tasks:", code.find("\n") + 1):
        _check([str(Path(sys.executable).parent / "curate"), "validate", str(path)], cwd)
    elif language == "python" and not named:
        _check([sys.executable, str(path)], cwd)
    return cwd


def _smaller(line: str) -> str:
    """The same command on less text, with an id that there is."""
    if line.startswith("curate init demo"):
        small = (
            "sed -i 's/stage: installed_packages/&, source_megabytes: 1, kinds: [topics, docstrings]/' pipeline.yaml"
        )
        return (
            f"{line}\n{small}\nsed -i 's/^steps: .*/steps: 4/; s/^checkpoint_every: .*/checkpoint_every: 2/' train.yaml"
        )
    if line.startswith("curate why ID"):
        first = "import sys, json; print(json.load(sys.stdin)['documents'][0]['id'])"
        return f'ID=$(curate data sample installed-text -n 1 --json | python -c "{first}")\ncurate why $ID'
    return line


def _check(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
