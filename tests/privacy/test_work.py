"""The work of finding and revealing grows in proportion: counted in lines that run, not in time."""

from __future__ import annotations

import random
import re
import sys

import pytest

from curate.privacy import spans as spans_module
from curate.privacy import vault as vault_module
from curate.privacy.recognizers import Recognizer
from curate.privacy.spans import find_all
from curate.privacy.vault import reveal
from curate.stages.contract import Span


def lines_run(module, call):
    """How many lines of a module run during a call."""
    count = 0

    def local(frame, event, argument):
        nonlocal count
        count += event == "line"
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename == module.__file__ else None)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def every_at(text):
    return [Span(at, at + 1, "X", 1.0) for at, one in enumerate(text) if one == "@"]


def shows_later(text):
    """What shows only once something else was taken out, so that a second round has as much to do."""
    return [Span(at, at + 4, "X", 1.0) for at in range(len(text)) if text.startswith("<X>b", at)]


@pytest.mark.parametrize("find", [every_at, lambda text: every_at(text) + shows_later(text)])
def test_finding_costs_in_proportion_to_what_is_found(find):
    def work(number):
        recognizers = [Recognizer(("X",), find, "@")]
        return lines_run(spans_module, lambda: find_all("a@b" * number, recognizers, {"X": 0}, {"X": "<X>"}))

    assert work(4000) < 2.2 * work(2000)


def test_revealing_costs_in_proportion_to_text_and_pairs():
    def work(number):
        names = ["".join("abcdefghijklmnop"[int(one, 16)] for one in f"{at:014x}") for at in range(number)]
        pairs = [("EMAIL_ADDRESS", f"<EMAIL_{name}>", f"{name}@example.org") for name in names]
        return lines_run(vault_module, lambda: reveal(" ".join(stands for _, stands, _ in pairs), pairs))

    assert work(4000) < 2.2 * work(2000)


def test_places_come_back_as_if_every_span_had_been_looked_at():
    """Against the definition, at random: of a run of `b` behind an `@` each shows when the one before is taken out."""
    draw = random.Random(7)
    for _ in range(300):
        text = "".join(draw.choice("ab@") for _ in range(draw.randrange(40)))
        found = find_all(
            text, [Recognizer(("X",), lambda one: every_at(one) + shows_later(one), "@")], {"X": 0}, {"X": "<X>"}
        )
        taken = {at for span in found for at in range(span.start, span.end)}
        assert taken == {at for run in re.finditer("@b*", text) for at in range(*run.span())}
        assert sum(span.end - span.start for span in found) == len(taken), "spans are disjoint"
