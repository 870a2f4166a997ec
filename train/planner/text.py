"""A plan for people, in words and a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["plan_text"]


def plan_text(plan: dict[str, Any]) -> str:
    """The plan in at most about 40 lines."""
    lines = [f"data      {_data_text(plan['data'])}", f"compute   {_compute_text(plan['compute'])}", ""]
    lines += _runs_table(plan)
    if plan["needs"]:
        lines += ["", f"more data  {_needs_text(plan['needs'])}"]
    if plan["memory"]:
        lines += ["", f"memory    {_memory_text(plan['memory'])}"]
    if plan["settings"]:
        changes = [f"--set {name}={_plain(value)}" for name, value in plan["settings"].items()]
        rows = [" ".join(changes[start : start + 3]) for start in range(0, len(changes), 3)]
        beyond = plan["runs"][-1].get("extrapolated")
        advice = "start with (extrapolated: try the file's own values beside it)" if beyond else "start with"
        lines += ["", advice, " \\\n    ".join([f"  curate train {plan['file']}", *rows])]
    return "\n".join([*lines, "", *(f"- {_note(note, plan['runs'])}" for note in plan["notes"])])


def _note(note: str, runs: list[dict[str, Any]]) -> str:
    """A note, with the runs that it lists named as in the table."""
    titles = {run["name"]: _title(run) for run in runs}
    start, _, names = note.rpartition(": ")
    listed = names.split(", ")
    if not start or not set(listed) <= titles.keys():
        return note
    told = "all of them" if len(listed) == len(titles) > 1 else ", ".join(titles[name] for name in listed)
    return f"{start}: {told}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _data_text(data: dict[str, Any]) -> str:
    tokens = data["unique_tokens"]
    if tokens is None:
        return f"as many unique tokens as wanted; vocabulary {data['vocabulary']:,}"
    where = f" in train of {data['dataset']}" if data["dataset"] else ""
    how = f"estimated, {data['bytes_per_token']} bytes each" if data["bytes_per_token"] else data["source"]
    return f"{_short(tokens)} unique tokens{where} ({how}); vocabulary {data['vocabulary']:,}"


def _compute_text(compute: dict[str, Any]) -> str:
    budget = "no budget"
    if compute["flop_6nd"] is not None:
        budget = f"{compute['flop_6nd']:.3g} FLOP (6 N D)"
    if compute["hours"] is not None:
        budget = f"{compute['hours']:g} hours"
    unnamed = "device" if compute["devices"] == 1 else "devices"
    machine = f"{compute['devices']} {'x ' + compute['hardware'] if compute['hardware'] else unnamed}"
    if compute["peak_tflops"] is None:
        return f"{budget}; {machine} of unknown speed"
    speed = f"{compute['peak_tflops']:g} TFLOP/s at {compute['mfu']:.0%} MFU ({compute['mfu_source']})"
    price = "" if compute["price_per_device_hour"] is None else f", {compute['price_per_device_hour']:g} an hour each"
    return f"{budget}; {machine}, {speed}{price}"


def _runs_table(plan: dict[str, Any]) -> list[str]:
    runs = plan["runs"]
    rows = [["", *(_title(run) for run in runs)]]

    def add(name: str, cell: Callable[[dict[str, Any]], str]) -> None:
        cells = [cell(run) for run in runs]
        if any(text != "-" for text in cells):
            rows.append([name, *cells])

    add("parameters", lambda run: _with_interval(run, "parameters"))
    add("tokens", lambda run: _with_interval(run, "tokens"))
    add("epochs", lambda run: "-" if run["epochs"] is None else f"{run['epochs']:.3g}")
    if plan["law"]:
        add("worth new tokens", lambda run: "-" if run["epochs"] is None else _short(run["effective_tokens"]))
        add("loss, nats a token", _loss)
    add("FLOP, 6 N D", lambda run: f"{run['flop_6nd']:.2e}")
    add("FLOP, attention", lambda run: f"{run['flop_attention']:.2e}")
    add("time", lambda run: "-" if run["hours"] is None else _time(run["hours"]))
    add("cost", lambda run: "-" if run["cost"] is None else f"{run['cost']:,.2f}")
    add("nearest preset", lambda run: "-" if run["name"] in ("file", "preset") else run["preset"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _title(run: dict[str, Any]) -> str:
    name = run["name"]
    if name == "preset":
        return f"preset {run['preset']}"
    return {"file": "the file", "best": "best", "epochs_1": "1 epoch"}.get(name, f"{name.partition('_')[2]} epochs")


def _with_interval(run: dict[str, Any], key: str) -> str:
    value = _short(run[key])
    if f"{key}_low" not in run:
        return value
    return f"{value} ({_short(run[f'{key}_low'])}-{_short(run[f'{key}_high'])})"


def _loss(run: dict[str, Any]) -> str:
    if run["meaningless"]:
        return "-"
    low, high = run["loss_nats_per_token_low"], run["loss_nats_per_token_high"]
    return f"{run['loss_nats_per_token']:.3f} ({low:.3f}-{high:.3f})"


def _time(hours: float) -> str:
    for unit, size in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:,.1f} {unit}"
    return f"{hours * 3600:.1f} seconds"


def _needs_text(needs: dict[str, Any]) -> str:
    low, high = _short(needs["unique_tokens_low"]), _short(needs["unique_tokens_high"])
    wanted = f"{_short(needs['unique_tokens'])} unique tokens ({low}-{high}) would be seen once"
    if not needs["more_for_one_epoch"]:
        return f"not needed: {wanted}"
    four = needs["more_for_four_epochs"]
    also = f"or {_short(four)} more for four epochs" if four else "four epochs need no more"
    return (
        f"{wanted}, {_short(needs['more_for_one_epoch'])} more than there are\n          {also}; "
        f"loss then {needs['loss_nats_per_token']:.3f}"
    )


def _memory_text(memory: dict[str, Any]) -> str:
    names = ("weights", "gradients", "optimizer", "whole", "activations", "loss", "step")
    parts = ", ".join(f"{name} {memory[f'{name}_bytes'] / 2**30:.2f}" for name in names)
    verdict = {None: "", True: ", fits", False: ", DOES NOT FIT"}[memory["fits"]]
    again = "" if memory["recompute"] else f"; {memory['total_bytes_with_recompute'] / 2**30:.2f} with recompute"
    return (
        f"{memory['total_bytes'] / 2**30:.2f} GiB a device{verdict}{again}, "
        f"{memory['sequences_per_piece']} sequences at once\n          ({parts})"
    )


def _short(number: float) -> str:
    """Three digits and a letter: 1.24B."""
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            shown = f"{number / size:.3g}"
            return f"{float(shown):g}{letter}"
    return f"{number:.3g}"
