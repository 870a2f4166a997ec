"""The `curate.labeling` package; the folder stands at the top level of the repository (docs/decisions/0001-packaging.md)."""

if __name__ != "curate.labeling":
    raise ImportError("import curate.labeling, not labeling: from the repository root this would load a second copy")
