"""Text that every machine with curate has: what the installed packages say about themselves.

Descriptions, licence files, Python's documentation topics, and docstrings: real and messy, full of near-duplicates (the
same licences again and again), boilerplate, code and e-mail addresses. Made for trying things out without a download.
Parsing docstrings costs about 1 CPU second for 3 MB of source.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from curate.stages.contract import Part, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import ast

    import pyarrow as pa

__all__ = ["InstalledPackages"]

Kind = Literal["descriptions", "licences", "topics", "docstrings"]
SHORTEST = 200
LONGEST_FILE = 2 << 20
ROWS = 2000


class InstalledPackages(Source):
    """Read the descriptions, licences, documentation topics and docstrings of what is installed here: for trying things out.

    All of its inputs have the same content, which names Python's version, the number of packages, and a hash of their names
    and versions: one more package, or another version of one, is another input.
    """

    kinds: tuple[Kind, ...] = Field(
        ("descriptions", "licences", "topics", "docstrings"), description="which texts to read"
    )
    source_megabytes: float = Field(
        30.0,
        ge=0,
        description="MB of Python source to take docstrings from: the standard library, then packages by name",
    )

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """One part a kind; docstrings are cut by the amount of source."""
        installed = sorted({f"{one.name}=={one.version}" for one in metadata.distributions()})
        digest = hashlib.sha256("\n".join([sys.version, *installed]).encode()).hexdigest()
        # said in words, for all kinds have the same: texts of one set of packages
        content = f"python-{platform.python_version()}+{len(installed)}-packages:{digest}"
        parts = [Part(f"installed/{kind}", kind, content) for kind in self.kinds if kind != "docstrings"]
        if "docstrings" in self.kinds:
            files = _source_files(int(self.source_megabytes * 1_000_000))
            step = max(1, len(files) // 8)
            parts += [
                Part("installed/docstrings", "docstrings", content, start, min(start + step, len(files)))
                for start in range(0, len(files), step)
            ]
        return parts

    def read(self, part: Part) -> Iterator[pa.Table | Rejected]:
        """Documents with the columns `kind` and `package`."""
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in ("id", "text", "source_uri", "kind", "package")])
        rows: list[dict[str, str | None]] = []
        for package, name, text in self._texts(part):
            if len(text) < SHORTEST:
                continue
            clean = text.encode("utf-8", "replace").decode()
            uri = f"{part.name}/{package}#{name}"
            rows.append({"id": None, "text": clean, "source_uri": uri, "kind": part.location, "package": package})
            if len(rows) == ROWS:
                yield pa.Table.from_pylist(rows, schema=schema)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=schema)

    def _texts(self, part: Part) -> Iterator[tuple[str, str, str]]:
        if part.location == "topics":
            from pydoc_data.topics import topics

            yield from (("python", name, text) for name, text in sorted(topics.items()))
        elif part.location == "docstrings":
            files = _source_files(int(self.source_megabytes * 1_000_000))
            for package, name, path in files[part.start : part.stop]:
                yield from ((package, f"{name}:{place}", text) for place, text in _docstrings(path))
        else:
            distributions = {one.name: one for one in metadata.distributions()}
            for name, one in sorted(distributions.items()):
                if part.location == "descriptions":
                    yield name, "description", str(one.metadata.get_payload() or one.metadata.get("Description", ""))
                else:
                    yield from ((name, path, text) for path, text in _licences(one))


def _licences(distribution: metadata.Distribution) -> Iterator[tuple[str, str]]:
    for path in sorted(distribution.files or [], key=str):
        if ".dist-info" in str(path) and path.name.upper().startswith(("LICEN", "COPYING", "NOTICE", "AUTHORS")):
            try:
                yield str(path), path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue


def _source_files(most_bytes: int) -> list[tuple[str, str, Path]]:
    """(package, name, path) of Python files: the standard library first, then packages by name, up to so many bytes."""
    paths = sysconfig.get_paths()
    library, site = Path(paths["stdlib"]), Path(paths["purelib"])
    found, size = [], 0
    for root, package in ((library, "python"), (site, None)):
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if {"test", "tests", "idlelib", "lib2to3", "site-packages", "testing"} & set(inside.parts):
                continue
            length = path.stat().st_size
            if length > LONGEST_FILE or size + length > most_bytes:
                continue
            size += length
            found.append((package or inside.parts[0].removesuffix(".py"), inside.as_posix(), path))
    return found


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """The docstrings of a module and its classes, with those of their functions, each as one text."""
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return
    groups: list[tuple[str, ast.Module | ast.ClassDef]] = [("module", tree)]
    groups += [(node.name, node) for node in tree.body if isinstance(node, ast.ClassDef)]
    seen: dict[str, int] = {}
    for name, group in groups:
        functions = [node for node in group.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        texts = [ast.get_docstring(group), *(_entry(node) for node in functions)]
        seen[name] = seen.get(name, 0) + 1
        place = name if seen[name] == 1 else f"{name}.{seen[name]}"
        yield place, "\n\n".join(text for text in texts if text)


def _entry(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    import ast

    text = ast.get_docstring(function)
    return f"{function.name}: {text}" if text else None
