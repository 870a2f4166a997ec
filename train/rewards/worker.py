"""The process in which rewards are computed: completions as JSON lines on its input, verdicts on what was its output.

Started as `python -P -m curate.train.rewards.worker`. Its first line says which rewards there are, where modules of
one's own are found, and how much memory they may take; it answers `{"ready": true}`, or `{"error": [...]}`. What a reward
prints goes to standard error. It ends when the trainer does: at the end of its input, and by the kernel's signal if the
trainer is killed. A verdict repeats the number of its question; a child that a reward has forked, and that comes back from
it, ends there, for it would judge a second time. `random` begins anew for each sample, and hashes of texts are the same in
every process, so a reward that draws gives the same when a run goes on.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.load import Verdict, judged, load_reward
from curate.train.settings.rewards import RewardSettings

__all__ = ["main"]

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Judge until the input ends."""
    driver = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:
            return
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    told = json.loads(sys.stdin.readline())
    sys.path += [entry for entry in told["path"] if entry not in sys.path]
    entries = TypeAdapter(list[RewardSettings]).validate_python(told["rewards"])
    folder = Path(told["folder"]) if told["folder"] else None
    try:
        rewards = [(load_reward(one, folder), one.called) for one in entries]
    except CurateError as error:
        say({"error": error.records()})
        return
    _limit_memory(told["memory"])
    say({"ready": True})
    judge = os.getpid()
    for line in sys.stdin:
        task = json.loads(line)
        number = task.pop("number")
        verdict = _verdict(rewards, task)
        if os.getpid() != judge:
            os._exit(0)
        say({"number": number, **verdict._asdict()})


def _verdict(rewards: list[Any], task: dict[str, Any]) -> Verdict:
    judge, name = rewards[task.pop("reward")]
    random.seed(task.pop("sample"))
    return judged(judge, Completion(**task), name=name)


def _limit_memory(mebibytes: int) -> None:
    """What the process holds now, and so much more: addresses, which is what the kernel can bound."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (mebibytes << 20)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
