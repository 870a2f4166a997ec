"""Programs judged by tests: the completion's last block of code is run in a jail (jail.py) against the tests of a column.

    a text                      code of Python that follows the program: assertions, as in HumanEval and MBPP
    a list of texts             several such tests, each in a run of its own
    a list of {input, output}   what the program reads and what it then prints, spaces at the ends of lines aside (APPS)

Lists may be JSON text. A test of assertions counts as passed if the run comes to its end: a word that nobody could guess is
printed behind it, so that leaving early is no way to pass. A program that looks for the tests in its own process can find
them, as anywhere where both run in one; `output` cannot be deceived in that way.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

from curate.errors import CurateError
from curate.train.rewards.completion import Completion, Judge
from curate.train.rewards.jail import GUARDS, lacking, run_python
from curate.train.settings.rewards import CodeReward

__all__ = ["load_code", "program_in", "tests_in"]

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)\n?")
_PYTHON = ("", "python", "py", "python3", "py3")


def load_code(settings: CodeReward) -> Judge:
    """The reward, where programs can be run as the settings ask.

    Raises:
        CurateError: The machine lacks a guard that they ask for.
    """
    missing = lacking()
    if missing and settings.isolation == "required":
        kept = " and ".join(GUARDS[guard] for guard in missing)
        raise CurateError(
            f"programs cannot be kept from {kept} on this machine",
            "objective.rewards",
            "Linux 5.13 with Landlock and seccomp can; `isolation: best` runs them all the same",
        )
    needs = [guard for guard in GUARDS if guard not in missing]

    def run(source: str, given: str) -> tuple[bool, str]:
        ended = run_python(source, given=given, seconds=settings.seconds, memory=settings.memory, needs=needs)
        return ended.code == 0, ended.output

    if run("print(1)", "") != (True, "1\n"):
        raise CurateError("programs do not run in the jail on this machine", "objective.rewards")

    def judge(given: Completion) -> float:
        program, tests = program_in(given.completion), tests_in(given.columns[settings.column])
        if settings.share:
            return sum(_passes(program, test, run) for test in tests) / len(tests)
        return float(all(_passes(program, test, run) for test in tests))

    return judge


def _passes(program: str, test: str | dict[str, str], run: Callable[[str, str], tuple[bool, str]]) -> bool:
    if isinstance(test, dict):
        well, printed = run(program, test["input"])
        return well and _lines(printed) == _lines(test["output"])
    word = secrets.token_hex(16)
    well, printed = run(f"{program}\n\n{test}\n\nprint({word!r})\n", "")
    return well and printed.rstrip().endswith(word)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def program_in(completion: str) -> str:
    """The last block of Python, or of no language, in a completion; the whole where it has none.

    Fences are those of CommonMark (0.31, section 4.5), indented at will: what closes one is as long, and names no language.
    A block that is not closed is none.
    """
    text = completion.replace("\r\n", "\n")
    found, opened, lines = text, None, list[str]()
    for line in (f"{line}\n" for line in text.split("\n")):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            opened, lines = fence, []
        elif fence and not fence[3].strip() and fence[2].startswith(opened[2]):
            named = opened[3].split()[:1] or [""]
            if named[0].strip("{}.").casefold() in _PYTHON:
                found = "".join(lines)
            opened = None
        else:
            lines.append(line.removeprefix(opened[1]))
    return found


def tests_in(text: str) -> list[str | dict[str, str]]:
    """The tests of a column.

    Raises:
        CurateError: There are none, or they are something else.
    """
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = text
    tests = found if isinstance(found, list) else [text]
    known = [test for test in tests if _is_test(test)]
    if not known or len(known) != len(tests):
        hint = "code, a list of code, or a list of {input, output}"
        raise CurateError("there are no tests for this prompt, or they are something else", hint=hint)
    return known


def _is_test(test: Any) -> bool:
    if isinstance(test, dict):
        return all(isinstance(test.get(name), str) for name in ("input", "output"))
    return isinstance(test, str) and bool(test.strip())
