"""What a user installs: the built wheel has every module and template, and works beside a user's own train.py."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    clone = out / "clone"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True
    )
    for name in files.stdout.split("\n"):
        source = REPOSITORY / name
        if name and source.is_file() and not source.is_symlink():  # links stay behind, as in an archive without links
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(clone)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_module_and_template(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = []
    for package, home in (
        ("curate", "curate"),
        ("train", "curate/train"),
        ("reports", "curate/reports"),
        ("labeling", "curate/labeling"),
        ("evaluation", "curate/evaluation"),
    ):
        root = REPOSITORY / package
        for path in root.rglob("*"):
            relative = path.relative_to(root)
            linked = package == "curate" and relative.parts[0] in ("train", "reports", "labeling", "evaluation")
            if path.is_file() and not linked and "__pycache__" not in relative.parts:
                name = f"{home}/{relative.as_posix()}"
                if name not in inside:
                    missing.append(name)
    assert missing == []


def test_every_module_of_the_wheel_can_be_imported_beside_a_users_own_train(wheel, tmp_path):
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong train was imported')")
    script = (
        "import pkgutil, importlib, curate\n"
        f"assert curate.__file__.startswith({str(target)!r}), curate.__file__\n"
        "names = [one.name for one in pkgutil.walk_packages(curate.__path__, 'curate.')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(len(names))\n"
    )
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 50
