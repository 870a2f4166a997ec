"""What a store says equals what a fresh store says, whatever was done before.

Hypothesis draws sequences of what happens to a project (inputs, settings, code and models are edited, runs are killed at
any moment, work is slow once, garbage is collected, objects are lost) and of runs. After every run, the version of this
store (its id, documents and columns, the counts of its stages, the stories of some documents) must be the one that an
empty store gives for the same files in another folder.

    python -m pytest tests/pipeline/test_state_machine.py                                 a bounded number of steps
    CURATE_MACHINE_STEPS=5000 CURATE_MACHINE_SEED=1 python -m pytest ... --timeout 0      more; each seed draws others
    CURATE_MACHINE_WITHOUT=run_edited,edit_code python -m pytest ...                      look behind known defects

Everything goes through the command line, `open_dataset` and `why`; no clock decides when something happens.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from machine_project import Project
from machine_world import CODE, FOLDERS, OPTIONAL, SETTINGS, TEXTS, asked

from curate.dataset.store import blobs_at

MOST_STEPS = int(os.environ.get("CURATE_MACHINE_STEPS", "48"))
SEED = int(os.environ.get("CURATE_MACHINE_SEED", "0"))
WITHOUT = os.environ.get("CURATE_MACHINE_WITHOUT", "").split(",")
STEPS_AT_ONCE = 12

numbers = st.integers(0, 99)
texts = st.integers(0, len(TEXTS) - 1)
moments = st.sampled_from([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
openings = st.tuples(st.just("open"), st.integers(1, 4))
counts = st.sampled_from([1, 2])
STEPS: dict[str, tuple[int, dict[str, st.SearchStrategy]]] = {
    "wait": (1, {}),
    "append": (1, {"file": numbers, "text": texts}),
    "rewrite": (1, {"file": numbers}),
    "replace": (1, {"file": numbers, "text": texts}),
    "restore": (1, {"file": numbers}),
    "add_file": (1, {"folder": st.sampled_from(sorted(FOLDERS.values())), "text": texts}),
    "remove_file": (1, {"file": numbers}),
    "change_paths": (1, {"path": st.sampled_from(sorted(FOLDERS))}),
    "change_setting": (3, {"setting": st.sampled_from(sorted(SETTINGS)), "number": numbers}),
    "change_stages": (1, {"name": st.sampled_from(sorted(OPTIONAL))}),
    "edit_code": (3, {"name": st.sampled_from(CODE), "choice": st.integers(0, 2)}),
    "edit_model": (1, {"words": st.sampled_from(["stone lamp", "bridge", "river mill"])}),
    "run": (6, {"workers": counts}),
    "run_killed": (3, {"moment": moments, "workers": counts}),
    "run_and_lose_a_worker": (1, {"moment": moments}),
    "run_edited": (2, {"file": numbers, "text": texts, "when": openings | st.tuples(st.just("os.rename"), moments)}),
    "run_slow": (1, {"document": numbers}),
    "run_poisoned": (1, {"document": numbers}),
    "collect_garbage": (1, {}),
    "tag": (1, {}),
    "lose_object": (1, {"number": numbers}),
}
"""The steps: how often each is drawn beside the others, and what it takes."""
NAMES = [name for name, (weight, _) in STEPS.items() for _ in range(weight) if name not in WITHOUT]


def _call(name):
    return st.tuples(st.just(name), st.fixed_dictionaries(STEPS[name][1]))


RUN = ("run", {"workers": 1})
BLOCK = ("change_stages", {"name": "block"})


@pytest.fixture(scope="module", autouse=True)
def _server_ends():
    yield
    Project.end()


class Machine(RuleBasedStateMachine):
    """The steps. Called by themselves they do the same: `WENT_WRONG` below lists such sequences."""

    def __init__(self):
        super().__init__()
        Machine.last = self
        self.steps: list[tuple[str, dict]] = []
        self.project = Project()
        self.world = self.project.world

    @initialize(has_block=st.booleans(), has_run=st.booleans())
    def begin(self, has_block, has_run):
        calls = [BLOCK] * has_block + [RUN] * has_run
        for call in calls:
            self.do(call)

    @rule(call=st.sampled_from(NAMES).flatmap(_call))
    def do(self, call):
        """One rule for all steps: of many, Hypothesis leaves most out of a sequence, and these are few sequences."""
        name, arguments = call
        self.steps.append(call)
        getattr(self, name)(**arguments)

    def _file(self, number):
        inputs = self.world.inputs()
        return inputs[number % len(inputs)]

    def _document(self, number):
        named = [one for one in asked(self.world.files()) if "/" not in one] or ["nobody"]
        return named[number % len(named)]

    def wait(self):
        """Nothing happens; the simplest of all sequences, with which Hypothesis begins, is of this alone."""

    # ---- inputs

    def append(self, file, text):
        name = self._file(file)
        self.project.note(f"append to {name}: {TEXTS[text]!r}")
        self.world.append(name, text)

    def rewrite(self, file):
        name = self._file(file)
        self.project.note(f"rewrite {name} in place, of the same size and time")
        self.world.rewrite(name)

    def replace(self, file, text):
        name = self._file(file)
        self.project.note(f"put a new file in the place of {name}: {TEXTS[text]!r}")
        self.world.replace(name, text)

    def restore(self, file):
        name = self._file(file)
        if self.world.restore(name):
            self.project.note(f"restore {name} as it was before, with its old time")

    def add_file(self, folder, text):
        self.project.note(f"add the file {self.world.add(folder, [text])}: {TEXTS[text]!r}")

    def remove_file(self, file):
        name = self._file(file)
        if self.world.remove(name):
            self.project.note(f"remove the file {name}")

    # ---- configuration, code, models

    def change_paths(self, path):
        self.world.toggle_path(path)
        self.project.note(f"change `paths` to {self.world.paths}")

    def change_setting(self, setting, number):
        self.project.note(f"set {setting} to {self.world.set(setting, number)}")

    def change_stages(self, name):
        self.world.toggle_stage(name)
        self.project.note(f"{'put in' if name in self.world.optional else 'take out'} the stage {name}")

    def edit_code(self, name, choice):
        self.project.note(f"edit {name}: CHOICE = {choice}")
        self.world.edit_code(name, choice)

    def edit_model(self, words):
        self.project.note(f"edit the block's file words.txt: {words!r}")
        self.world.edit_model(words)

    # ---- runs

    def run(self, workers):
        self.project.compare(self.project.run(f"run, {workers} workers", "--workers", workers))

    def run_killed(self, moment, workers):
        trap = {"event": "os.rename", "after": moment, "do": "kill driver"}
        if self.project.object_store:
            part = self.project.store.removeprefix("s3://")
            trap = {"url": self.project.object_store.url, "part": part, "after": moment}
        sentence = f"run, {workers} workers, and kill the driver when it puts file {moment} in place"
        ran = self.project.run(sentence, "--workers", workers, trap=trap)
        if self.project.object_store:
            self.project.object_store.kill(0, "-", 0)
        if ran.code == -9:
            self.project.head_stays_or_is_new()
        else:
            self.project.compare(ran)

    def run_and_lose_a_worker(self, moment):
        trap = {"event": "os.rename", "after": moment, "do": "kill worker"}
        sentence = f"run, and kill the worker that puts file {moment} in place"
        self.project.compare(self.project.run(sentence, "--workers", 2, trap=trap))

    def run_edited(self, file, text, when):
        name, before = self._file(file), self.world.files()
        path = self.world.remember(name)
        content = path.read_text() + self.world.line(name, text)
        trap = {"event": when[0], "after": when[1], "do": "edit", "file": str(path), "content": content}
        moment = f"opens it for time {when[1]}" if when[0] == "open" else f"puts file {when[1]} in place"
        sentence = f"run, and append to {name} before the run {moment}: {TEXTS[text]!r}"
        self.project.compare_with_both(self.project.run(sentence, "--workers", 1, trap=trap), before)

    def run_slow(self, document):
        """A document that is too slow this time is quarantined; the next run has no reason to."""
        slow = self._document(document)
        sentence = f"run while the stage mark is slower than its time limit at {slow}"
        ran = self.project.run(sentence, "--workers", 1, "--set", "time_limit=1", MACHINE_SLOW=slow)
        self._provisional(ran)

    def run_poisoned(self, document):
        """A document whose workers die this time is quarantined; the next run has no reason to."""
        poison = self._document(document)
        ran = self.project.run(f"run while workers die of {poison}", "--workers", 1, MACHINE_POISON=poison)
        self._provisional(ran)

    def _provisional(self, ran):
        self.project.check(ran.code >= 0 and ran.code != 1, f"the run fails with exit code {ran.code}:\n{ran.err}")
        if ran.code == 0:
            self.project.head = self.project.says(ran, asked(self.world.files()))

    # ---- the store

    def collect_garbage(self):
        if blobs_at(self.project.store).exists("store.json"):
            self.project.the_dead_are_known()
            self.project.collect_garbage()
            self.project.head_stays()
            for name, said in self.project.tags.items():
                self.project.stays(f"machine@{name}", said)

    def tag(self):
        if self.project.head:
            name = f"kept{len(self.steps)}"
            self.project.do(f"tag the newest version `{name}`", "data", "tag", "machine", name)
            self.project.tags[name] = self.project.head

    def lose_object(self, number):
        self.project.lose_object(number)

    # ---- the end

    def last_run(self):
        self.project.compare(self.project.run("run", "--workers", 1))

    def teardown(self):
        try:
            if self.project.sentences and not self.project.has_failed:
                self.last_run()
        finally:
            self.project.close()


WENT_WRONG = {
    "an input grows before it is hashed": [("run_edited", {"file": 0, "text": 8, "when": ("open", 1)})],
    "an input grows between plan and read": [("run_edited", {"file": 0, "text": 4, "when": ("open", 2)})],
    "an input grows while it is read": [("run_edited", {"file": 0, "text": 4, "when": ("open", 3)})],
    "an input grows after it was read": [("run_edited", {"file": 0, "text": 4, "when": ("os.rename", 34)})],
    "a document is slow once": [("run_slow", {"document": 0})],
    "a document kills workers once": [("run_poisoned", {"document": 0})],
    "a helper module is edited": [RUN, ("edit_code", {"name": "machine_words.py", "choice": 1})],
    "a block is edited": [BLOCK, RUN, ("edit_code", {"name": "machine_block.py", "choice": 2})],
    "a file of a block is edited": [BLOCK, RUN, ("edit_model", {"words": "bridge"})],
}
"""Sequences that went wrong when this was written (notes of the review: A1, A2, A6)."""


def problem_of(steps):
    """What goes wrong after these steps and a last run; None where nothing does."""
    machine = Machine()
    try:
        for call in steps:
            machine.do(call)
        machine.last_run()
    except AssertionError as problem:
        return str(problem)
    finally:
        machine.project.close()
    return None


def shorten(steps):
    """The steps without those that the problem does not need, and the problem: a replay a step, not Hypothesis's minutes."""
    problem = problem_of(steps)
    for number in reversed(range(len(steps))):
        shorter = [*steps[:number], *steps[number + 1 :]]
        if problem and (other := problem_of(shorter)):
            steps, problem = shorter, other
    return steps, problem


@pytest.mark.slow
@pytest.mark.parametrize("steps", WENT_WRONG.values(), ids=[name.replace(" ", "_") for name in WENT_WRONG])
def test_a_store_says_what_a_fresh_one_says_after_that(steps):
    if problem := problem_of(steps):
        pytest.fail(problem, pytrace=False)


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * MOST_STEPS)
@pytest.mark.parametrize("number", range(max(1, MOST_STEPS // STEPS_AT_ONCE)))
def test_a_store_says_what_a_fresh_one_says_after_any_steps(number):
    any_steps(f"{SEED} {number}")


@pytest.fixture
def elsewhere(object_store):
    """The stores of projects are in an object store, and the server that forks knows which."""
    Project.end()
    Project.object_store = object_store
    yield
    Project.end()
    Project.object_store = None


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * MOST_STEPS)
@pytest.mark.parametrize("number", range(max(1, MOST_STEPS // STEPS_AT_ONCE // 4)))
def test_a_store_in_an_object_store_says_what_a_fresh_one_says_after_any_steps(number, elsewhere):
    any_steps(f"{SEED} {number} s3")


def any_steps(name):
    options = settings(
        max_examples=2,  # the first one is the simplest; those after the second repeat parts of it
        stateful_step_count=STEPS_AT_ONCE, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
    )  # fmt: skip
    try:
        run_state_machine_as_test(seed(name)(Machine), settings=options)
        return
    except AssertionError as problem:
        found = str(problem)
    steps, problem = shorten(Machine.last.steps)
    told = problem or f"only once, not when it was done again: {found}"
    pytest.fail(f"{told}\nfor WENT_WRONG: {steps}", pytrace=False)
