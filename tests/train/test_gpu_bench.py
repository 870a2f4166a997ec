"""`benchmarks/gpu.py` on the CPU: what it writes, how it goes on, and what it does when memory runs out; and its neighbour
`train_peers.py` in small."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module; its neighbours are found as when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def call(path, *options):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--out", str(path), "--device", "cpu", "--sizes", "tiny"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, *options], env=environment, check=True, capture_output=True, text=True)
    return done.stdout, json.loads(path.read_text())


@pytest.mark.slow
def test_cells_are_measured_once_and_the_rest_by_the_next_call(tmp_path):
    path = tmp_path / "gpu.json"
    few = ("--steps", "3", "--warm-up", "1")
    printed, first = call(path, "--cells", "*/eager", *few)
    assert list(first["cells"]) == ["tiny/ours/eager", "tiny/hf/eager"]
    for cell in first["cells"].values():
        assert cell["tokens_per_second"] > 0
        assert cell["step_ms_p10"] <= cell["step_ms"] <= cell["step_ms_p90"]
        # Not that it is below one: beside other work the peak, too, is a measured time.
        assert cell["mfu_measured_peak"] > 0
        assert cell["last_loss"] < cell["first_loss"]
    assert "tokens/s" in printed
    printed, second = call(path, "--cells", "*/eager", "ours/eager/masks", "ours/compiled/fp8", *few)
    assert list(second["cells"]) == [
        "tiny/ours/eager",
        "tiny/hf/eager",
        "tiny/ours/eager/masks",
        "tiny/ours/compiled/fp8",
    ]
    assert {name: second["cells"][name] for name in first["cells"]} == first["cells"]
    assert "cannot compute in fp8" in second["cells"]["tiny/ours/compiled/fp8"]["failed"]
    printed, third = call(path, "--budget-seconds", "0", *few)
    assert third == second
    assert "call again to go on" in printed


def test_where_memory_runs_out_the_micro_batch_is_halved(gpu, monkeypatch):
    import torch

    tried = []

    def measured(cell, size, rows, options):
        tried.append(rows)
        if rows > 4:
            raise torch.OutOfMemoryError
        return {"micro_batch": rows}

    monkeypatch.setattr(gpu, "measured", measured)
    options = SimpleNamespace(device="cpu")
    assert gpu.try_cell(gpu.CELLS[0], gpu.SIZES["124m"], options) == {"micro_batch": 4}
    assert tried == [32, 16, 8, 4]


def test_a_cell_for_which_one_sequence_is_too_much_is_told(gpu, monkeypatch):
    import torch

    def measured(cell, size, rows, options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu, "measured", measured)
    row = gpu.try_cell(gpu.CELLS[0], gpu.SIZES["124m"], SimpleNamespace(device="cpu"))
    assert row == {"failed": "out of memory with one sequence"}


def test_a_cell_that_breaks_does_not_end_the_others(gpu, monkeypatch):
    def measured(cell, size, rows, options):
        raise ValueError("no such kernel")

    monkeypatch.setattr(gpu, "measured", measured)
    row = gpu.try_cell(gpu.CELLS[0], gpu.SIZES["124m"], SimpleNamespace(device="cpu"))
    assert row == {"failed": "ValueError: no such kernel"}


@pytest.mark.slow
def test_every_size_is_the_shape_of_both_sides(gpu):
    """Ours has as many parameters as Hugging Face's."""
    import torch

    twins = importlib.import_module("twins")
    from curate.train.planner.memory import count_parameters

    for name, size in gpu.SIZES.items():
        config = twins.our_config(size.model, rows=1, length=size.length, steps=1)
        with torch.device("meta"):
            theirs = sum(parameter.numel() for parameter in twins.hugging_face(config, size.vocabulary).parameters())
        assert count_parameters(config, config.model.architecture, size.vocabulary) == theirs, name


@pytest.mark.slow
def test_peers_take_turns_on_the_same_shape(tmp_path):
    path = tmp_path / "peers.json"
    command = [sys.executable, str(BENCHMARKS / "train_peers.py"), "--quick", "--json", str(path)]
    subprocess.run(
        [*command, "--precisions", "fp32", "--only", "ours/eager", "hf/eager"], check=True, capture_output=True
    )
    result = json.loads(path.read_text())
    rows = result["tokens_per_cpu_second"]["fp32"]
    assert list(rows) == ["ours/eager", "hf/eager"]
    assert rows["hf/eager"]["ratio_to_hf"] == 1
    assert all(row["min"] <= row["median"] <= row["max"] for row in rows.values())
