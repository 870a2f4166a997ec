"""Asking in the terminal: one document after another, a key or a line for each answer; any time back, skipped, or ended.

- skip   < back to the one before   . end   ? instructions   ! none (of labels, or spans)
"""

from __future__ import annotations

import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from curate.errors import CurateError
from curate.labeling.task import Task
from curate.labeling.values import checked, swapped

__all__ = ["BACK", "END", "HELP", "SKIP", "Given", "Question", "ask", "keys", "read_answer", "sheet", "terminal_reader"]

BACK, END, HELP, NONE, SKIP = "<", ".", "?", "!", "-"
SPAN = re.compile(r"\s*(?P<text>.+?)(?:\s+#(?P<which>[0-9]+))?")
MOST_SHOWN = 4000
"""Characters of a text that are shown."""
LINES: dict[str, str] = {
    "spans": "LABEL: words of the text (#2: where they stand the second time); an empty line ends the list",
    "answer": "the answer, in one line", "rewrite": "a better last turn, in one line",
}  # fmt: skip


class Question(NamedTuple):
    """A document to ask about: its id, hash, what is shown, a suggestion and its model if one may be seen, answers missing."""

    id: str
    hash: str
    data: dict[str, Any]
    suggested: Any = None
    model: str | None = None
    missing: int = 1


class Given(NamedTuple):
    """An answer (`skipped`: none), and the seconds it took."""

    question: Question
    value: Any
    skipped: bool
    seconds: float


def keys(task: Task) -> dict[str, Any]:
    """The key of each answer: those that the task names, for others 1 to 9, 0, then letters."""
    if task.kind == "preference":
        return {"1": "first", "2": "second", "t": "tie"}
    if task.kind == "rating":
        return {str(number): number for number in range(1, 6)}
    if task.kind not in ("classification", "multilabel"):
        return {}
    named = {label.key: label.name for label in task.labels if label.key}
    taken = {label.name for label in task.labels if label.key}
    named |= {name: name for name in task.label_names if len(name) == 1 and name not in named and name not in taken}
    free = [key for key in "1234567890abcdefghijklmnopqrstuvwxyz" if key not in named]
    others = [name for name in task.label_names if name not in named.values()]
    if len(others) > len(free):
        raise CurateError(
            f"`{task.name}` has {len(task.labels)} labels, more than keys",
            hint="label in Label Studio, which has no such limit",
        )
    found = {**named, **dict(zip(free, others, strict=False))}
    order = {name: place for place, name in enumerate(task.label_names)}
    return dict(sorted(found.items(), key=lambda pair: order[pair[1]]))


def sheet(task: Task, question: Question, number: int, left: int, width: int) -> str:
    """What is shown of a question."""
    lines = [f"--- {number} ({left} left)  {question.id}"]
    for name, value in question.data.get("context", {}).items():
        lines += _wrapped(f"{name}: {value}", width)
    data = dict(question.data)
    if task.kind == "preference" and swapped(question.hash):
        data["first"], data["second"] = data["second"], data["first"]
    for name, _ in task.main:
        if isinstance(data[name], list):
            lines += [line for turn in data[name] for line in _wrapped(f"{turn['role']}: {turn['content']}", width)]
        elif name == "text":
            lines += _wrapped(data[name] or "(an empty text)", width)
        else:
            title = {"first": "[1]", "second": "[2]"}.get(name, name)
            lines += ["", *_wrapped(f"{title} {data[name]}", width)]
    lines.append("")
    if question.suggested is not None:
        none = "; ! is none" if task.kind in ("multilabel", "spans") else ""
        lines.append(f"suggested: {_in_words(question.suggested)}  (Enter takes it{none})")
    given = keys(task)
    if given:
        lines += _wrapped("  ".join(f"[{key}] {value}" for key, value in given.items()), width)
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) > MOST_SHOWN:
        text = f"{text[:MOST_SHOWN]}\n({len(text) - MOST_SHOWN:,} more characters)"
    return [line for part in text.splitlines() or [""] for line in textwrap.wrap(part, width) or [""]]


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return (
            ", ".join(f"{one['label']} {one['start']}-{one['end']}" if isinstance(one, dict) else one for one in value)
            or "none"
        )
    return str(value)


def ask(
    task: Task,
    questions: Sequence[Question],
    read: Callable[[str], str],
    show: Callable[[str], None],
    keep: Callable[[Given], None],
    *,
    width: int = 80,
    free: Callable[[Question], bool] = lambda question: True,
) -> int:
    """Ask until the questions or the person's patience are at their end; how many answers were given.

    Args:
        task: The task.
        questions: What to ask about.
        read: Gives what was typed after a prompt; raises EOFError at the end.
        show: Shows text.
        keep: Called with every answer before the next question; one that is given again is called again.
        width: Of lines.
        free: Whether a question may be asked, and is not somebody else's by now.
    """
    place, given, before = 0, set[int](), list[int]()
    if task.instructions:
        show(task.instructions)
    while place < len(questions):
        question, began = questions[place], time.monotonic()
        if not free(question):
            place += 1
            continue
        show(sheet(task, question, place + 1, len(questions) - place, width))
        try:
            word, value = _answer(task, question, read, show)
        except EOFError:
            break
        if word == END:
            break
        if word == BACK:
            place = before.pop() if before else place
            continue
        keep(Given(question, value, word == SKIP, time.monotonic() - began))
        given.add(place)
        before.append(place)
        place += 1
    return len(given)


def _answer(task: Task, question: Question, read: Callable[[str], str], show: Callable[[str], None]) -> tuple[str, Any]:
    """A word (back, end, skip, or nothing) and the answer."""
    hint = LINES.get(task.kind, "several, then Enter" if task.kind == "multilabel" else "")
    while True:
        typed = read(f"{hint}\n> " if hint else "> ").strip()
        if typed == HELP:
            show(task.instructions or "there are no instructions")
            show("\n".join(f"{label.name}: {label.description}" for label in task.labels if label.description))
            show("- skip, < back to the one before, . end, ! none")
            continue
        if typed in (BACK, END, SKIP):
            return typed, None
        try:
            if typed == NONE and task.kind in ("multilabel", "spans"):
                return "", []
            if not typed and question.suggested is not None:
                return "", checked(task, question.suggested, question.data)
            return "", read_answer(task, question, typed, read)
        except CurateError as error:
            show(f"{error.problem}{f' ({error.hint})' if error.hint else ''}")


def read_answer(task: Task, question: Question, typed: str, read: Callable[[str], str]) -> Any:
    """The answer that was typed.

    Raises:
        CurateError: It is none.
    """
    known = keys(task)
    if task.kind == "multilabel":
        return checked(task, [_one(task, known, word) for word in _words(task, known, typed)], question.data)
    if task.kind == "spans":
        lines = [typed]
        while lines[-1]:
            lines.append(read("> ").strip())
        return checked(task, [_span(task, question.data["text"], line) for line in lines if line], question.data)
    if task.kind in ("answer", "rewrite"):
        return checked(task, typed, question.data)
    value = _one(task, known, typed)
    if task.kind == "preference" and swapped(question.hash):
        value = {"first": "second", "second": "first"}.get(value, value)
    return checked(task, value, question.data)


def _words(task: Task, known: Mapping[str, Any], typed: str) -> Iterable[str]:
    """Keys in one word (`13`), or names and keys with blanks and commas between."""
    return typed if typed and all(key in known for key in typed) else re.split(r"[\s,]+", typed) if typed else []


def _one(task: Task, known: Mapping[str, Any], typed: str) -> Any:
    if typed in known:
        return known[typed]
    if task.kind in ("preference", "rating"):
        raise CurateError(f"`{typed}` is none of the keys", hint=", ".join(known))
    return typed


def _span(task: Task, text: str, line: str) -> dict[str, Any]:
    labels = sorted(task.label_names, key=len, reverse=True)  # one may begin as another does, and have a colon
    label = next((one for one in labels if line.startswith(f"{one}:")), line.partition(":")[0].strip())
    found = SPAN.fullmatch(line.removeprefix(label).lstrip()[1:]) if ":" in line else None
    if found is None:
        raise CurateError(f"`{line}` is no span", hint="LABEL: words of the text")
    words, which = found["text"], int(found["which"] or 1)
    starts = [match.start() for match in re.finditer(re.escape(words), text)]
    if not 1 <= which <= len(starts):
        raise CurateError(f"`{words}` stands {len(starts)} times in the text")
    start = starts[which - 1]
    return {"start": start, "end": start + len(words), "label": label}


def terminal_reader(task: Task) -> Callable[[str], str]:
    """What is typed: a key on a terminal where one is enough, else a line; prompts go to stderr, stdout stays data."""
    one_key = task.kind in ("classification", "preference", "rating") and sys.stdin.isatty()

    def read(prompt: str) -> str:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        if one_key:
            import typer

            typed = typer.getchar()
            sys.stderr.write(f"{typed}\n")
            return typed
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    return read
