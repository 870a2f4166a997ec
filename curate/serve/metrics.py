"""Numbers of a server in Prometheus' text format (version 0.0.4): counts, times and sizes, nothing of what was asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["MEDIA", "Histogram", "exposition"]

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Seconds."""
ABOUT = {
    "requests_total": ("counter", "Answers by path and status, or that of the error that ended a stream."),
    "request_seconds": ("histogram", "From a request to the end of its answer."),
    "first_token_seconds": ("histogram", "From a request to the first piece of its stream."),
    "prompt_tokens_total": ("counter", "Tokens read."),
    "generated_tokens_total": ("counter", "Tokens written."),
    "steps_total": ("counter", "Forward passes that wrote a token of each text."),
    "texts_total": ("counter", "Texts begun."),
    "given_up_total": ("counter", "Texts whose clients went away."),
    "slots": ("gauge", "Texts that can be written at a time."),
    "slots_taken": ("gauge", "Texts that are being written."),
    "waiting": ("gauge", "Texts that wait for a slot."),
}


class Histogram:
    """How many values lie below each of BOUNDS."""

    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(BOUNDS) + 1), 0.0

    def add(self, seconds: float) -> None:
        """One value more."""
        self.counts[sum(seconds > bound for bound in BOUNDS)] += 1
        self.sum += seconds

    def lines(self, name: str) -> list[str]:
        """Of the text."""
        found, total = list[str](), 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*found, f"{name}_sum {self.sum:.6f}", f"{name}_count {total}"]


def exposition(requests: Counter[tuple[str, int]], values: dict[str, Any]) -> str:
    """The text.

    Args:
        requests: How many of each path and status.
        values: Numbers and `Histogram`s, by the names in ABOUT.
    """
    lines: list[str] = []
    for name, (kind, told) in ABOUT.items():
        full = f"curate_{name}"
        if name == "requests_total":
            own = [
                f'{full}{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(requests.items())
            ]
        elif name not in values:
            continue
        else:
            value = values[name]
            own = value.lines(full) if isinstance(value, Histogram) else [f"{full} {value}"]
        lines += [f"# HELP {full} {told}", f"# TYPE {full} {kind}", *own]
    return "\n".join(lines) + "\n"
