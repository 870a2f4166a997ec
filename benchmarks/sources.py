"""Reading repositories and dumps: MB of text or XML a CPU second, beside what a script does with the same files.

    python benchmarks/sources.py [--repository .] [--megabytes 60] [--runs 3]

Each side runs in a process of its own, in turn, twice, and the second time counts, with its children (git). `git` is fetch and
read of all text files at HEAD; `git archive` is git's own tar of the commit, read and decoded by Python, with nothing told of a
file. `wikipedia` reads a dump made of one article with much markup; `iterparse` is the standard library's reader taking title
and text of each page. `wiki_text` is beside `strip_code` of the library that it uses.
`stackexchange` is beside `iterparse` taking the attributes of each row.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MEGABYTE = 1e6


def git(path: Path) -> int:
    """Bytes of text of a repository at HEAD, as the source gives them."""
    from curate.collect.git.source import Git
    from curate.dataset.snapshots import Fetch
    from curate.dataset.store import Store
    from curate.stages.parts import SourceContext

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = Store.open(root / "store", create=True)
        stage = Git(path=str(path))
        desk = Fetch(store, "k" * 64, root, None, lambda text: None)
        snapshot = desk.finish("git", {}, stage.fetch(desk))
        parts = stage.plan(SourceContext(root, 64 << 20, str, snapshot=snapshot))
        return sum(_bytes(item) for part in parts for item in stage.read_from(store, part))


def _bytes(item: object) -> int:
    return item["text"].nbytes if hasattr(item, "column_names") else 0


def git_archive(path: Path) -> int:
    """The same by git's own tar."""
    import tarfile

    size = 0
    with (
        subprocess.Popen(["git", "-C", str(path), "archive", "HEAD"], stdout=subprocess.PIPE) as git,
        tarfile.open(fileobj=git.stdout, mode="r|") as archive,
    ):
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            data = file.read() if file else b""
            size += 0 if b"\0" in data[:8000] else len(data.decode("utf-8", "replace"))
    return size


def wikipedia(path: Path) -> int:
    """Bytes of a dump, read by the source."""
    from curate.collect.dumps.wikipedia import Wikipedia

    return _read(Wikipedia(paths=str(path)), path)


def stackexchange(path: Path) -> int:
    """Bytes of posts, read by the source."""
    from curate.collect.dumps.stackexchange import StackExchange

    return _read(StackExchange(paths=str(path)), path)


def _read(stage: object, path: Path) -> int:
    from curate.stages.parts import SourceContext

    for part in stage.plan(SourceContext(path.parent, 64 << 20, str)):
        for _ in stage.read(part):
            pass
    return path.stat().st_size


def iterparse(path: Path) -> int:
    """Bytes of a dump, read by the standard library."""
    from xml.etree.ElementTree import iterparse as parse

    found = 0
    for _, element in parse(path):
        if element.tag.endswith("}text"):
            found += len(element.text or "")
        elif element.tag.endswith("}page"):
            element.clear()
        elif element.tag == "row":
            found += len(element.get("Body", ""))
            element.clear()
    return path.stat().st_size


def wiki_text(path: Path) -> int:
    """Bytes of wiki text, made plain by the stage."""
    import pyarrow as pa

    from curate.clean.wiki import WikiText

    texts = [path.read_text("utf-8")] * 40
    WikiText().open()(pa.table({"id": [""] * 40, "text": texts, "source_uri": [""] * 40}))
    return 40 * path.stat().st_size


def strip_code(path: Path) -> int:
    """The same by the library's own function."""
    import mwparserfromhell

    for _ in range(40):
        mwparserfromhell.parse(path.read_text("utf-8")).strip_code()
    return 40 * path.stat().st_size


SIDES = {one.__name__: one for one in (git, git_archive, wikipedia, iterparse, wiki_text, strip_code, stackexchange)}


def spent() -> float:
    """CPU seconds of this process and its children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measured(side: str, path: Path) -> float:
    """MB a CPU second of a process that does one of them."""
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--path", str(path)], check=True, capture_output=True
    )
    return json.loads(done.stdout)


def prepared(folder: Path, megabytes: float) -> dict[str, Path]:
    """The files to read."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.collect.test_stackexchange import dump as posts
    from tests.collect.test_stackexchange import row
    from tests.collect.wiki_dump import ARTICLE, dump, page

    count = int(megabytes * MEGABYTE / len(page(1, ARTICLE * 4)))
    body = "<p>" + "words of a post &amp; more " * 40 + "</p>"
    rows = [row(n, 1 if n % 3 == 0 else 2, Title="t", ParentId=n - n % 3, Body=body) for n in range(3, count * 4)]
    files = {"wiki": folder / "wiki.xml", "article": folder / "article.txt", "posts": folder / "Posts.xml"}
    files["wiki"].write_bytes(dump(page(n, ARTICLE * 4) for n in range(count)))
    files["article"].write_text(ARTICLE * 4, "utf-8")
    files["posts"].write_bytes(posts(*rows).removeprefix("\ufeff".encode()))
    return files


def main() -> None:
    """Measure all, in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", type=Path, default=Path())
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side")
    parser.add_argument("--path", type=Path)
    asked = parser.parse_args()
    if asked.side:
        SIDES[asked.side](asked.path)  # imports
        before = spent()
        size = SIDES[asked.side](asked.path)
        print(json.dumps(size / MEGABYTE / (spent() - before)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = prepared(Path(folder), asked.megabytes)
        repository = asked.repository.absolute()
        pairs = [
            ("git", "git_archive", repository), ("wikipedia", "iterparse", files["wiki"]),
            ("wiki_text", "strip_code", files["article"]), ("stackexchange", "iterparse", files["posts"]),
        ]  # fmt: skip
        for mine, peer, path in pairs:
            runs = [(measured(mine, path), measured(peer, path)) for _ in range(asked.runs)]
            first, second = (statistics.median(one) for one in zip(*runs, strict=True))
            ratio = statistics.median(one / other for one, other in runs)
            print(f"{mine:14} {first:7.2f} MB a CPU s   {peer:12} {second:7.2f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
