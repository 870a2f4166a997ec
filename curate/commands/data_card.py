"""`curate data card`: what a version is, for people: its dataset card, or drafts of the summaries that laws ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["card"]


def card(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    public_summary: Annotated[
        bool,
        typer.Option(
            "--public-summary",
            help="Draft the summary of training content of the EU AI Act (Article 53(1)(d)) and of California's AB 2013.",
        ),
    ] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Print the dataset card of a version: sources, splits, licences, what each stage did, what is not known."""
    from curate.commands.options import print_json
    from curate.dataset.card import dataset_card
    from curate.dataset.disclosure import generated, host_bytes, summary_points
    from curate.dataset.disclosure import public_summary as summary
    from curate.dataset.facts import facts_of
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset

    one = open_dataset(name, find_store(store))
    facts = facts_of(one)
    if not public_summary:
        if as_json:
            print_json(facts.to_json())
        else:
            echo(dataset_card(facts).rstrip())
        return
    hosts = host_bytes(one)
    points = summary_points(facts, hosts, generated(one))
    if as_json:
        print_json({
            "dataset": one.name, "version": one.version, "points": [point.to_json() for point in points], "hosts": hosts,
        })  # fmt: skip
    else:
        echo(summary(facts, points).rstrip())
