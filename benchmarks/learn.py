"""Does every model and objective learn? Small real tasks on the CPU, each against a stated baseline.

Each task is the whole way of a user: JSON lines -> `curate run` -> `curate train` -> a number on data that was not
trained on. The data is not part of the project (`--data`); tasks that begin with a pretrained encoder need one
(`--encoder`, a Hugging Face folder of a BERT), and are left out without it.

    python benchmarks/learn.py [TASK ...] --data DIR [--encoder DIR] [--work DIR] [--json FILE] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from learn_tasks import TASKS

PIPELINE = """dataset: task
sources:
  - {stage: files, paths: ["rows.jsonl"], make_ids: true}
stages:
  - {stage: split, column: part}
"""


# ---- running them


def command(*arguments, folder, threads):
    """Run `curate`; returns its JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    program = [str(Path(sys.executable).with_name("curate")), *arguments, "--json"]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} in {folder} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def learned(name, task, options):
    """One task from its data to its row."""
    folder = options.work / name
    folder.mkdir(parents=True, exist_ok=True)
    rows = task.rows(options.data)
    lines = [json.dumps({**{k: v for k, v in row.items() if k != "split"}, "part": row["split"]}) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "pipeline.yaml").write_text(PIPELINE)
    command("run", "pipeline.yaml", folder=folder, threads=1)
    begun = os.times()
    for run, settings in (("first", task.first), ("run", task.settings)):
        if settings is None:
            continue
        text = json.dumps({"dataset": "task", "run": run, **settings}).replace("ENCODER", str(options.encoder))
        (folder / "train.yaml").write_text(text)
        began = time.perf_counter()
        result = command("train", "train.yaml", "--fresh", folder=folder, threads=options.threads)
    ended = os.times()
    value: Any = {**result["validation"], **(task.after(result, rows, folder) if task.after else {})}
    for part in task.metric.split("."):
        value = value[part]
    baseline = task.baseline[1](rows)
    return {
        "metric": task.metric,
        "value": value,
        "baseline": {"what": task.baseline[0], "value": baseline},
        "better": value > baseline if task.higher else value < baseline,
        "parameters": result["parameters"],
        "steps": result["steps"],
        "tokens": result["tokens"],
        "cpu_seconds": round(
            ended.children_user + ended.children_system - begun.children_user - begun.children_system, 1
        ),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main():
    """Run the tasks, print a row for each as it is done, and write them all."""
    parser = argparse.ArgumentParser(description="small real tasks, each against its baseline")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=lambda text: Path(text).resolve())
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=Path("learn"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = json.loads(options.json.read_text())["rows"] if options.json and options.json.is_file() else {}
    failed: list[str] = []
    for name in options.tasks or TASKS:
        task = TASKS[name]
        if task.needs_encoder and options.encoder is None:
            print(f"{name:18} left out: it needs --encoder")
            continue
        try:
            row = found[name] = learned(name, task, options)
        except (RuntimeError, KeyError) as error:
            failed.append(name)
            print(f"{name:18} failed: {error}", flush=True)
            continue
        print(
            f"{name:18} {row['metric']} {row['value']:.4f} against {row['baseline']['value']:.4f} "
            f"({row['baseline']['what']}), {row['parameters']:,} parameters, {row['cpu_seconds']:.0f} CPU s",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps({"schema": 1, "rows": found}, indent=1, sort_keys=True) + "\n")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
