"""What a client may have done where it is allowed: in bounds, in the log; whoever goes away meanwhile, the store is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from curate.agents.log import LOG, Log
from curate.dataset.store import Store
from tests.agents.conftest import LONG, PIPELINE, connected, make_project, run_here, server_of, serving

SLOW = PIPELINE + '  - {stage: "agent_stages:Slow", id: slow}\n'


def log_of(root):
    return [json.loads(line) for line in (root / LOG).read_text().splitlines()]


def verified(root):
    """Check every object of the newest version."""
    from curate.dataset.care import verify
    from curate.dataset.reader import open_dataset

    return verify(open_dataset("books", Store.open(root / ".curate")))


def processes_in(root):
    """Ids of processes whose working folder is the project's."""
    found = []
    for one in Path("/proc").iterdir():
        try:
            if one.name.isdigit() and (one / "cwd").readlink() == root:
                found.append(int(one.name))
        except OSError:
            continue
    return found


def wait_for(fact):
    while not fact():
        time.sleep(0.05)


@pytest.fixture
def slow_project(tmp_path):
    """A project whose last stage waits for as long as there is a file `slow`."""
    root = make_project(tmp_path / "project", [f"{LONG} {number}" for number in range(5)], SLOW)
    (root / "slow").touch()
    return root


# ---- the log


def test_the_log_has_a_line_for_the_beginning_and_one_for_the_end_and_nothing_personal(tmp_path):
    log = Log(tmp_path)
    call = "2777123456789012"  # looks like the number of a card
    log.begin(call, "run", {"file": "ann@example.org.yaml", "n": [1, "b"]}, "client\x1b 1")
    log.end(call, "done", result={"version": call})
    first, last = log_of(tmp_path)
    assert (first["event"], first["tool"], first["client"]) == ("began", "run", "client\x1b 1")
    assert "ann@" not in (tmp_path / LOG).read_text()
    assert (last["call"], last["outcome"], last["result"]) == (call, "done", {"version": call})
    assert datetime.fromisoformat(first["time"]) <= datetime.fromisoformat(last["time"])


def test_a_line_that_a_killed_server_left_half_written_costs_no_other(tmp_path):
    log = Log(tmp_path)
    log.begin("a", "run", {}, "")
    with (tmp_path / LOG).open("a") as file:
        file.write('{"schema": 1, "call": "hal')
    log.end("a", "done")
    lines = (tmp_path / LOG).read_text().splitlines()
    assert [json.loads(lines[place])["event"] for place in (0, 2)] == ["began", "ended"]


def test_without_a_log_nothing_is_done(tmp_path):
    root = make_project(tmp_path / "project")
    (root / ".curate").write_text("in the way")
    with serving(root, "--allow", "run") as agent:
        (error,) = agent.errors("run", file="pipeline.yaml")
    assert error["problem"].startswith("the log cannot be written")


# ---- what goes wrong


@pytest.mark.slow
def test_a_call_that_takes_too_long_is_ended_and_the_same_call_goes_on(slow_project):
    with serving(slow_project, "--allow", "run", "--limit-minutes", "1") as agent:
        (error,) = agent.errors("run", file="pipeline.yaml", minutes=0.1)
        assert error["problem"] == "it took longer than 0.1 minutes, and was ended"
        assert "goes on" in error["hint"]
        assert [pid for pid in processes_in(slow_project) if "curate.pipeline" in _command(pid)] == []
        (slow_project / "slow").unlink()
        assert agent.facts("run", file="pipeline.yaml")["documents"]["kept"] == 5
        assert agent.said, "progress was told"
    assert [(one["event"], one.get("outcome")) for one in log_of(slow_project)] == [
        ("began", None), ("ended", "interrupted"), ("began", None), ("ended", "done"),
    ]  # fmt: skip
    verified(slow_project)


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.slow
def test_while_a_verb_goes_on_another_is_refused_and_a_client_that_cancels_ends_it(slow_project):
    import anyio

    with serving(slow_project, "--allow", "run") as agent:

        async def both():
            async with anyio.create_task_group() as group:
                group.start_soon(agent.client.call_tool, "run", {"file": "pipeline.yaml"})
                while not (slow_project / "begun").exists():
                    await anyio.sleep(0.05)
                second = await agent.client.call_tool("run", {"file": "pipeline.yaml"})
                looked = await agent.client.call_tool("stages", {"name": "unicode"})
                group.cancel_scope.cancel()
            return second, looked

        second, looked = agent.portal.call(both)
        assert second.structured_content["errors"][0]["problem"] == "`run` is going on"
        assert not looked.is_error
        wait_for(lambda: len(log_of(slow_project)) == 2)
        assert log_of(slow_project)[-1]["outcome"] == "interrupted"
        (slow_project / "slow").unlink()
        assert agent.facts("run", file="pipeline.yaml")["documents"]["kept"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("how", ["closes", "ends", "kills"])
def test_when_the_client_goes_away_or_the_server_is_killed_the_run_ends_and_the_store_is_whole(slow_project, how):
    parameters = server_of(slow_project, "--allow", "run")
    process = subprocess.Popen(
        [parameters.command, *parameters.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=parameters.env,
        cwd="/",
    )
    for message in (
        {"id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bare", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "run", "arguments": {"file": "pipeline.yaml"}}},
    ):  # fmt: skip
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
        if message.get("id") == 1:
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "curate"
    wait_for((slow_project / "begun").exists)
    if how == "closes":
        process.stdin.close()
    else:
        process.send_signal(signal.SIGTERM if how == "ends" else signal.SIGKILL)
    with process:
        process.wait()
    assert process.returncode == {"closes": 0, "ends": -signal.SIGTERM, "kills": -signal.SIGKILL}[how]
    wait_for(lambda: not processes_in(slow_project))
    assert [one.get("outcome") for one in log_of(slow_project)] == [None, "interrupted"][: 1 if how == "kills" else 2]
    assert log_of(slow_project)[0]["client"] == "bare 1"
    (slow_project / "slow").unlink()
    run_here(slow_project)
    verified(slow_project)


@pytest.mark.slow
def test_two_servers_on_one_store_run_beside_each_other(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    root = make_project(tmp_path / "project")
    with (
        serving(root, "--allow", "run") as one,
        serving(root, "--allow", "run") as other,
        ThreadPoolExecutor(2) as pool,
    ):
        asked = [pool.submit(agent.facts, "run", file="pipeline.yaml") for agent in (one, other)]
        first, second = (call.result() for call in asked)
    assert first["version"] == second["version"]
    lines = log_of(root)
    assert sorted(line["event"] for line in lines) == ["began", "began", "ended", "ended"]
    verified(root)


# ---- money and the network


SYNTHESIZE = """\
dataset: made
sources:
  - stage: synthesize
    id: asked
    dataset: books
    task: paraphrase
    endpoint: {endpoint}
    model: m
    budget: {budget}
"""


@pytest.mark.parametrize(
    ("endpoint", "budget", "problem"),
    [
        ("https://models.example/v1", "{}", "nothing bounds what `asked` may cost: it asks a model"),
        ("http://127.0.0.1:9/v1", "{read_price: 1, write_price: 1}", "nothing bounds what `asked` may cost"),
        (
            "https://models.example/v1",
            "{money: 6, read_price: 1, write_price: 1}",
            "it may cost 6.00, and this server may spend 5.00",
        ),
    ],
)
def test_what_may_cost_more_than_the_limit_is_refused_before_anything_is_asked(spender, endpoint, budget, problem):
    root, agent = spender
    (root / "made.yaml").write_text(SYNTHESIZE.format(endpoint=endpoint, budget=budget))
    for tool in ("collect", "run"):
        (error,) = agent.errors(tool, file="made.yaml")
        assert error["problem"].startswith(problem)


def test_the_budget_is_not_for_a_client_to_change(spender):
    root, agent = spender
    (root / "made.yaml").write_text(SYNTHESIZE.format(endpoint="https://models.example/v1", budget="{}"))
    (error,) = agent.errors("run", file="made.yaml", settings={"asked.limit": 1})
    assert "is no setting of a stage" in error["problem"]


@pytest.fixture(scope="module")
def spender(tmp_path_factory):
    root = make_project(tmp_path_factory.mktemp("agents") / "spender")
    with serving(root, "--allow", "run,collect", "--limit-spend", "5") as agent:
        yield root, agent


def test_the_settings_that_are_printed_for_a_client_start_the_server(tmp_path):
    from mcp import StdioServerParameters

    words = ["mcp", str(tmp_path), "--allow", "train, run", "--limit-minutes", "5", "--json"]
    done = subprocess.run([sys.executable, "-m", "curate.cli", *words], capture_output=True, text=True)
    told = json.loads(done.stdout)
    start = told["mcpServers"]["curate"]
    assert start["args"][-3:] == ["--allow=run,train", "--limit-minutes=5", "--limit-spend=0"]
    with connected(StdioServerParameters(**start, cwd="/", env=dict(os.environ))) as agent:
        listed = agent.portal.call(agent.client.list_tools).tools
        (error,) = agent.errors("store")
    assert [one.name for one in listed] == [one["name"] for one in told["tools"]]
    assert {one["verb"] for one in told["tools"]} == {None, "run", "train"}
    assert error["problem"].startswith("there is no store at `.curate`")


def test_a_verb_that_is_not_there_cannot_be_allowed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "curate.cli", "mcp", str(tmp_path), "--allow", "run,trian"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no verb `trian`\n  at: --allow\n  hint: did you mean `train`?\n"
