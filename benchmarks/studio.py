"""Ten thousand tasks with predictions to a real Label Studio and back: CPU seconds of the server and of ours.

python benchmarks/studio.py [--tasks 10000]

Answers are made by Label Studio of the predictions (its own action, one of each model), since people are slow. `listed` is a
second push after the mark of the first one is gone, so that it has to look at every task.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.labeling.log import Item, Suggestion
from curate.labeling.studio.client import connect, find_project, write_mark
from curate.labeling.studio.pull import pull
from curate.labeling.studio.push import push
from curate.labeling.studio.server import running
from curate.labeling.task import Task


def server_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Push, push again, pull, pull again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=10_000)
    count = parser.parse_args().tasks
    task = Task.model_validate({"task": "bench", "dataset": "d", "kind": "classification", "labels": ["ham", "spam"]})
    shown = {f"d{place}": {"text": f"a message of some words, number {place}. " * 4} for place in range(count)}
    hashes = {id: hashlib.sha256(data["text"].encode()).hexdigest() for id, data in shown.items()}
    items = [Item(id, hashes[id], 1, "label", 1, False, place, "random") for place, id in enumerate(shown)]
    suggested = [Suggestion(id, hashes[id], '"spam"', 0.8, "m1") for id in shown]
    newer = [one._replace(model="m2") for one in suggested]

    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "data", say=print) as server,
        connect(server.url, server.token) as client,
    ):

        @contextmanager
        def measured(name: str) -> Iterator[dict]:
            theirs, ours, wall, more = server_seconds(server.process.pid), time.process_time(), time.time(), {}
            yield more
            theirs, ours = server_seconds(server.process.pid) - theirs, time.process_time() - ours
            rate = round(more.pop("rows", count) / (theirs + ours))
            print(json.dumps({"what": name, "server": round(theirs, 2), "client": round(ours, 2), "rows_per_cpu_s": rate,
                              "wall": round(time.time() - wall, 1), **more}), flush=True)  # fmt: skip

        with measured("push, with predictions") as more:
            more.update(push(client, task, items, shown, suggested)._asdict())
        with measured("push again") as more:
            more.update(push(client, task, items, shown, suggested)._asdict())
        project = find_project(client, task)
        write_mark(client, task, project, None)
        with measured("push again, listed") as more:
            more.update(push(client, task, items, shown, suggested)._asdict())
        with measured("predictions of another model") as more:
            more.update(push(client, task, items, shown, newer)._asdict())
        client.api.actions.create(
            id="predictions_to_annotations", project=project.number, selected_items={"all": True, "excluded": []}
        )
        with measured("pull") as more:
            pulled = pull(client, task)
            more.update(pulled.counts, rows=pulled.counts["new"])
        with measured("pull again") as more:
            again = pull(client, task, {one.source for one in pulled.answers})
            more.update(again.counts, rows=again.counts["known"])


if __name__ == "__main__":
    main()
