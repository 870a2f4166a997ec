"""Programs of a model, run in a jail against tests: hostile ones too, for real."""

from __future__ import annotations

import json
import os
import sys

import pytest

from curate.errors import CurateError
from curate.train.rewards import code
from curate.train.rewards.code import load_code, program_in
from curate.train.rewards.code import tests_in as parsed
from curate.train.rewards.completion import Completion
from curate.train.rewards.jail import lacking, run_python
from curate.train.settings.rewards import CodeReward

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the jail is of Linux")]
ADD = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."


@pytest.fixture(scope="module")
def guards():
    assert lacking() == [], "this machine lacks what the jail is made of"


def worth(completion, tests, **settings):
    judge = load_code(CodeReward(**settings))
    columns = {"tests": tests if isinstance(tests, str) else json.dumps(tests)}
    return judge(Completion("", completion, "", columns, 0, True))


def run(source, **limits):
    return run_python(source, **{"seconds": 2, "memory": 256, **limits})


# ---- tests


def test_a_program_passes_its_assertions_or_not():
    assert worth(ADD, "assert add(2, 3) == 5\nassert add(0, 0) == 0") == 1
    assert worth(ADD, "assert add(2, 3) == 5\nassert add(0, 0) == 1") == 0
    assert worth("def add(a, b:", "assert True") == 0


def test_the_share_of_several_tests_may_be_the_reward():
    tests = ["assert add(1, 1) == 2", "assert add(1, 1) == 3"]
    assert worth(ADD, tests, share=True) == 0.5
    assert worth(ADD, tests) == 0


def test_a_program_may_read_and_print():
    program = "```\nprint(sum(map(int, input().split())))\n```"
    assert worth(program, [{"input": "1 2 3\n", "output": "6"}, {"input": "4", "output": "4 \n"}]) == 1
    assert worth(program, [{"input": "1 2 3\n", "output": "7"}]) == 0


@pytest.mark.parametrize(
    "way_out", ["raise SystemExit", "import os; os._exit(0)", "exit()", "print('passed'); exit(0)"]
)
def test_leaving_early_is_no_way_to_pass(way_out):
    assert worth(f"```python\n{way_out}\n```", "assert add(1, 1) == 3") == 0


def test_the_last_block_of_code_is_the_program():
    assert program_in("```python\na\n```\nor\n```\nb\n```\n") == "b\n"
    assert program_in("print(1)") == "print(1)"


@pytest.mark.parametrize(
    "completion",
    [
        "```bash\npip install x\n```\nthen\n```python\nRIGHT\n```\n",
        "```python\nRIGHT\n```\nIt prints:\n```text\n3\n```\n",
        "```python3\nRIGHT\n```",
        "```Python\nRIGHT\n```",
        "```{.python}\nRIGHT\n```",
        "```python title=a.py\nRIGHT\n```",
        "1. so:\n   ```python\n   RIGHT\n   ```\n",
        "```python\r\nRIGHT\r\n```\r\n",
        "````python\nRIGHT\n````\n",
        "~~~py\nRIGHT\n~~~\n",
        "```\nRIGHT\n```\nand\n```python\nis not closed",
    ],
)
def test_the_program_is_found_among_other_blocks_and_however_it_is_fenced(completion):
    assert program_in(completion) == "RIGHT\n"


def test_a_block_may_hold_shorter_fences_and_deeper_lines():
    assert program_in("````\n```\na\n```\n````") == "```\na\n```\n"
    assert program_in("  ```py\n  if a:\n      b\n  ```") == "if a:\n    b\n"
    assert program_in("```bash\nls\n```") == "```bash\nls\n```"


@pytest.mark.parametrize("text", ["", " ", "[]", '[{"input": 1, "output": "1"}]', '["", "assert True"]'])
def test_what_are_no_tests_is_refused(text):
    with pytest.raises(CurateError, match="there are no tests for this prompt"):
        parsed(text)


# ---- the jail


def test_a_program_runs_with_what_it_needs(guards):
    threads = "import threading; one = threading.Thread(target=print, args=('hello',)); one.start(); one.join()"
    assert run(threads) == (0, "hello\n")
    assert run("open('own', 'w').write('x'); print(open('own').read())") == (0, "x\n")
    assert run("print(input())", given="told") == (0, "told\n")


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.setsid()",
        "open('/tmp/left_by_a_program', 'w')",
        "import os; os.mkdir('/tmp/left_by_a_program')",
        "bytearray(1 << 30)",
        "open('large', 'wb').write(bytes(64 << 20))",
    ],
)
def test_a_program_cannot_do_what_is_not_its_own_business(guards, deed):
    source = f"try:\n    {deed}\nexcept (OSError, MemoryError):\n    print('refused')\nelse:\n    print('done')"
    assert run(source) == (0, "refused\n")


def test_a_program_cannot_change_a_file_of_ours(guards, tmp_path):
    (tmp_path / "kept").write_text("kept")
    deeds = [f"open({str(tmp_path / 'kept')!r}, 'r+').write('x')", f"__import__('os').remove({str(tmp_path / 'kept')!r})",
             f"__import__('os').truncate({str(tmp_path / 'kept')!r}, 0)"]  # fmt: skip
    assert all(run(deed).code == 1 for deed in deeds)
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_program_sees_nothing_of_our_environment(guards, monkeypatch):
    monkeypatch.setenv("CURATE_SECRET_OF_A_TEST", "secret")
    assert run("import os; print(sorted(os.environ))") == (0, "['HOME', 'LANG', 'PATH', 'TMPDIR']\n")
    assert run(f"open('/proc/{os.getpid()}/environ')").code == 1


def test_a_program_cannot_read_our_files(guards, tmp_path):
    (tmp_path / "kept").write_text("kept")
    assert run(f"open({str(tmp_path / 'kept')!r})").code == 1


@pytest.mark.parametrize("way", ["while True: pass", "import time; time.sleep(600)"])
def test_a_program_that_never_ends_is_ended(guards, way):
    assert run(way, seconds=1).code != 0


def test_a_program_that_prints_for_ever_is_cut(guards):
    found = run("while True: print('x' * 1000)")
    assert found.code != 0
    assert len(found.output) <= 1 << 20


# ---- what a machine lacks


def test_a_machine_that_lacks_a_guard_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(code, "lacking", lambda: ["own_files"])
    with pytest.raises(CurateError, match="programs cannot be kept from files outside their folder on this machine"):
        load_code(CodeReward())
    assert worth(ADD, "assert add(2, 3) == 5", isolation="best") == 1


def test_the_launcher_itself_refuses_what_it_cannot_do(guards):
    assert run("print('ran')", needs=["no_network", "a_guard_that_is_not_there"]) == (97, "")
