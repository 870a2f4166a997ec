"""Read a few files as the engine does: plan, then every part."""

import hashlib

import pytest

from curate.collect.files import Files
from curate.stages.contract import Passed, Rejected, SourceContext


@pytest.fixture
def read_files(tmp_path):
    """Write files by name (bytes or str) and read them; gives (documents as dicts, rejects)."""

    def read(contents, shard_bytes=1 << 24, **settings):
        for name, content in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        settings.setdefault("paths", sorted(contents))
        return read_source(Files(**settings), tmp_path, shard_bytes)

    return read


@pytest.fixture
def read_source_at():
    return read_source


def read_source(source, root, shard_bytes=1 << 24):
    def content_hash(path):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    parts = source.plan(SourceContext(root, shard_bytes, content_hash))
    documents, rejects = [], []
    for part in parts:
        for piece in source.read(part):
            if isinstance(piece, Passed):
                continue
            if isinstance(piece, Rejected):
                rejects.append(piece)
            else:
                text = [name for name in ["text"] if name in piece.column_names and "content" not in piece.column_names]
                assert piece.column_names[: 2 + len(text)] == ["id", *text, "source_uri"]
                documents.extend(piece.to_pylist())
    return documents, rejects
