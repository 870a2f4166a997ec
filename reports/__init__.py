"""The `curate.reports` package; the folder stands at the top level of the repository (docs/decisions/0001-packaging.md)."""

if __name__ != "curate.reports":
    raise ImportError("import curate.reports, not reports: from the repository root this would load a second copy")
