"""Rewards of one's own, for tests: the process that judges imports them by their names."""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path


def half_a_point(prompt, completion, answer):
    return 0.5


def squared_length(prompt, completion, answer):
    return len(completion) ** 2


def length_and_a(prompt, completion, answer):
    return len(completion) + completion.count("a")


def drawn(prompt, completion, answer):
    return random.random()


def columns_told(prompt, completion, answer, columns):
    return len(json.dumps(columns))


def as_told(prompt, completion, answer):
    """Does what the completion says."""
    match completion:
        case "hang":
            time.sleep(600)
        case "spin":
            while True:
                pass
        case "die":
            os.kill(os.getpid(), 9)
        case "exit":
            raise SystemExit
        case "raise":
            raise ValueError(completion)
        case "eat":
            return len(bytearray(1 << 32))
        case "nothing":
            return None
        case "fork":
            if os.fork() == 0:
                time.sleep(0.2)
                return 999
        case "garbage" | "[1]" | "{}" | "late":
            with suppress(OSError):
                for descriptor in range(3, 16):
                    if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("pipe:"):
                        late = b'{"number": 0, "value": 9.0, "problem": null, "hint": null}'
                        os.write(descriptor, (late if completion == "late" else completion.encode()) + b"\n")
        case "print":
            print("a line that is no verdict")
    return float(completion) if completion in ("nan", "inf", "1", "97", "98", "99", "100") else 0.0


def slow(prompt, completion, answer):
    time.sleep(1.6)
    return len(completion)
