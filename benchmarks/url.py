"""The stage `url` with datatrove's lists: what reading them costs, and URLs a second.

    python benchmarks/url.py [--urls 20000]

URLs are drawn with a seed: half of them of hosts on the list, half of hosts that are not. CPU seconds of one process; memory
is the most that it had, in MB, with Python and Arrow in it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tarfile
import time

import pyarrow as pa
from machine import machine

from curate.filter.url import Url


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=20_000)
    options = parser.parse_args()
    began = time.process_time()
    stage = Url()
    look = stage.open()
    opened = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    with tarfile.open(stage.model_files()[0]) as archive:
        file = archive.extractfile("domains")
        assert file
        hosts = file.read(20_000_000).decode().split("\n")[:-1]
    chance = random.Random(1)
    urls = [
        f"https://{chance.choice(hosts)}/" if number % 2 else f"https://www.site{number}.org/page/{number}.html"
        for number in range(options.urls)
    ]
    look(pa.table({"url": urls[:10]}))
    began = time.process_time()
    features = look(pa.table({"url": urls}))
    seconds = time.process_time() - began
    record = {
        "machine": machine("datatrove", "tldextract"),
        "open_cpu_s": opened,
        "memory_mb": memory,
        "urls_per_cpu_s": options.urls / seconds,
        "dropped": stage.decide(features).num_rows,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
