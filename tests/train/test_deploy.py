"""What runs `curate serve` on a model: the folder of a deployment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from curate.errors import CurateError
from curate.serve.deploy import _requirements, _served_with, deploy_run
from tests.oracles import missing

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SHORT = {"steps": 4, "checkpoint_every": 4, "validation": {"every": 4}}


@pytest.fixture
def deployed(trained, tmp_path):
    folder = trained("causal", **SHORT)
    return deploy_run(folder.path, tmp_path / "out")


def test_a_deployment_has_the_model_and_exact_versions_and_a_container_without_root(deployed, tmp_path):
    out = tmp_path / "out"
    assert deployed["folder"] == str(out / "model") and (out / "model" / "export.json").is_file()
    pins = [line for line in (out / "requirements.txt").read_text().splitlines() if not line.startswith("--")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[^=*]+", pin) for pin in pins)
    assert {f"torch=={version('torch')}", f"uvicorn=={version('uvicorn')}", f"h11=={version('h11')}"} <= set(pins)
    lines = (out / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert not [line for line in lines if "--chmod" in line and not re.search(r"--chmod=[0-7]+ ", line)]
    assert "--no-index" in (out / "Dockerfile").read_text()
    (entry,) = (json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if line.startswith("ENTRYPOINT"))
    assert entry[:3] == ["curate", "serve", "/model"]
    service = YAML(typ="safe").load((out / "compose.yaml").read_text())["services"]["model"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and service["mem_limit"] == "3g"
    assert service["security_opt"] == ["no-new-privileges:true"]
    with pytest.raises(CurateError, match="the folder is there already"):
        deploy_run(tmp_path / "run", out)


def test_systemd_finds_nothing_wrong_with_the_unit(deployed, tmp_path):
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed")
    unit = tmp_path / "out" / "curate-serve.service"
    text = unit.read_text()
    for line in (
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "MemoryMax=3G",
        "Restart=on-failure",
    ):
        assert line in text.splitlines()
    place = tmp_path / "curate-serve.service"  # with a program that is there
    place.write_text(text.replace("/opt/curate/venv/bin/curate", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("case", ["seq2seq", "token_classification"])
def test_what_is_not_served_is_not_deployed(trained, tmp_path, case):
    run = trained(case, steps=1, checkpoint_every=1, validation={"every": 1}).path
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CurateError) as found:
        deploy_run(run, tmp_path / "out")
    assert found.value.problem == (
        f"`curate serve` does not serve this model: the model in `{run}` was trained for `{case}`, which is not served"
    )
    assert (found.value.where, sorted(tmp_path.iterdir())) == (str(run), before)


def test_a_model_that_transformers_computes_needs_it(monkeypatch, tmp_path):
    for backend, needed in (("transformers", ["transformers"]), ("ours", [])):
        opened = SimpleNamespace(backend=backend)
        monkeypatch.setattr("curate.serve.server.open_served", lambda model, opened=opened: (opened, None))
        assert _served_with(tmp_path, tmp_path) == needed


def installed(monkeypatch, **versions):
    monkeypatch.setattr("curate.serve.deploy.version", lambda name: versions[name])
    monkeypatch.setattr("curate.serve.deploy.requires", lambda name: [])
    return _requirements(list(versions))


def test_torch_is_taken_from_the_index_that_has_its_build(monkeypatch):
    found = installed(monkeypatch, numpy="2.1", torch="2.13.0+cpu")
    assert found == ["--extra-index-url https://download.pytorch.org/whl/cpu", "numpy==2.1", "torch==2.13.0+cpu"]
    assert installed(monkeypatch, torch="2.13.0") == ["torch==2.13.0"]


def test_builds_that_no_index_has_are_pinned_by_their_public_version(monkeypatch):
    found = installed(monkeypatch, numpy="2.1+mkl", torch="2.13.0+ours")
    assert found == ["numpy==2.1  # here 2.1+mkl", "torch==2.13.0  # here 2.13.0+ours"]


def test_a_package_that_is_not_there_cannot_be_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.serve.deploy._ROOTS", ("curate-lm[train]", "no-such-package"))
    with pytest.raises(CurateError) as found:
        deploy_run(tmp_path / "run", tmp_path / "out")
    assert found.value.hint == "pip install 'curate-lm[serve]'"
    assert list(tmp_path.iterdir()) == []
