"""The `curate.train` package; the folder stands at the top level of the repository (docs/decisions/0001-packaging.md)."""

if __name__ != "curate.train":
    raise ImportError("import curate.train, not train: from the repository root this would load a second copy")
