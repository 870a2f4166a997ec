"""What a run does not do: texts that nobody asked for are not read, workers without work are not started."""

import json
from collections import deque

from curate.dataset.store import Store
from curate.pipeline import run as driver
from curate.pipeline.backends import local
from curate.pipeline.backends.contract import Done
from curate.pipeline.backends.local import LocalBackend
from curate.pipeline.steps import Opened
from curate.pipeline.supervision import Task
from curate.pipeline.worker import perform

SEEN = """
import pyarrow as pa
from curate.stages.contract import Effect, Mapper, Verdicts
class Seen(Mapper):
    reads_text = False
    def columns(self): return ("word", "never")
    def open(self):
        def see(batch):
            return Effect(Verdicts().table(), {"seen": pa.array([",".join(batch.column_names)] * batch.num_rows)})
        return see
"""


class Here(LocalBackend):
    """Does the tasks in this process."""

    def run(self, waiting):
        store, opened = Store.open(self.store), Opened()
        while waiting:
            task = waiting.popleft()
            yield task, Done(perform(store, json.loads(json.dumps(task.spec)), lambda at: None, opened))


def test_only_a_stage_that_looks_at_texts_is_given_them(project, monkeypatch):
    (project.root / "seen.py").write_text(SEEN)
    project.write("in.jsonl", '{"text": "one", "word": "w", "other": 1}')
    project.pipeline('{dataset: toy, sources: [{stage: files, paths: in.jsonl}], stages: [{stage: "seen:Seen"}]}')
    monkeypatch.syspath_prepend(str(project.root))
    monkeypatch.setattr(driver, "open_backend", lambda placement, store, root, note: Here(store, root, 1))
    asked, read = [], Store.read_table
    monkeypatch.setattr(Store, "read_table", lambda *given: (asked.append(given[1:]), read(*given))[1])
    project.run()
    (shard,) = project.open().ledger()
    columns = [one[1] for one in asked if one[0] == shard.object]
    assert {name for one in columns for name in one} == {"id", "source_uri", "word", "#bytes"}
    assert project.open().arrow().column("seen").to_pylist() == ["id,source_uri,word"]


def test_workers_are_started_for_tasks_that_wait_as_long_as_a_start_takes(project, monkeypatch):
    project.write("in.txt", "one")
    project.stages()
    project.run()
    (shard,) = project.open().ledger()
    spec = {"kind": "write", "key": None, "shard": shard.to_json()}

    def workers_after(tasks):
        given = deque(Task(number, spec, "a task") for number in range(tasks))
        assert len(list(backend.run(given))) == tasks
        return len(backend.workers)

    monkeypatch.setattr(local, "START_WAIT", float("inf"))
    with LocalBackend(project.location, project.root, 3) as backend:
        assert [workers_after(2), workers_after(9)] == [2, 2]
        monkeypatch.setattr(local, "START_WAIT", 0.0)
        assert workers_after(9) == 3
