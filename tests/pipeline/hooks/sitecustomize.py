"""What befalls a run at a moment that no clock decides: the n-th file that it puts in place, or the n-th time it opens one.

Python imports this module in every process whose PYTHONPATH has this folder; MACHINE_TRAP says what happens, as JSON:
`event` ("os.rename": all durable writes end with one; or "open" of `file`), `after` (how many of them), `do` ("kill
driver", "kill worker" or "edit" the `file` to `content`), `driver` (its process) and `folder` (for the count).
It listens to Python's own audit events, so it knows nothing of the engine.

It also hides pandas from workers: pyarrow would import it for its first array, which is a quarter of a worker's start.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ACTIONS = ("kill driver", "kill worker", "edit")


def arm():
    """Set the trap of MACHINE_TRAP in this process, where there is one."""
    if os.environ.get("MACHINE_TRAP"):
        trap = json.loads(os.environ["MACHINE_TRAP"])
        assert trap["do"] in ACTIONS, trap
        if trap["do"] != "kill worker" or os.getpid() != trap["driver"]:
            sys.addaudithook(_Trap(trap))


class _Trap:
    """An audit hook that counts over all processes of a run and strikes once."""

    def __init__(self, trap):
        self.trap, self.is_at_work = trap, False

    def __call__(self, event, arguments):
        if event != self.trap["event"] or self.is_at_work:
            return
        self.is_at_work = True
        try:
            if event != "open" or self._is_the_file(arguments[0]):
                self._count()
        finally:
            self.is_at_work = False

    def _is_the_file(self, path):
        wanted = self.trap["file"]
        return isinstance(path, str | os.PathLike) and str(Path(path).absolute()) == wanted

    def _count(self):
        counter = os.open(Path(self.trap["folder"]) / "count", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(counter, b".")
        reached = os.fstat(counter).st_size >= self.trap["after"]
        os.close(counter)
        if not reached:
            return
        try:
            os.close(os.open(Path(self.trap["folder"]) / "struck", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self._strike()

    def _strike(self):
        if self.trap["do"] == "edit":
            Path(self.trap["file"]).write_text(self.trap["content"])
        elif self.trap["do"] == "kill worker":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.kill(self.trap["driver"], signal.SIGKILL)
            time.sleep(60)  # the kernel takes the worker along


class _NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(f"no module `{name}`", name=name)


sys.meta_path.insert(0, _NoPandas())
arm()
