"""The `curate.evaluation` package; the folder stands at the top level of the repository (docs/decisions/0001-packaging.md)."""

if __name__ != "curate.evaluation":
    raise ImportError(
        "import curate.evaluation, not evaluation: from the repository root this would load a second copy"
    )
