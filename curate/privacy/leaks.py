"""Documents with keys, tokens or passwords in them, told by kind: for code, where a document goes rather than a word of it.

What is a secret is that of `pii` (curate/privacy/secrets.py), which replaces them in texts that stay. The kinds are a column;
the secrets themselves are in no verdict and no log. They stay in the store: in what was
read, and in the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from curate.privacy.secrets import find_secrets
from curate.stages.contract import Filter, Rule

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Secrets"]

PUBLISHED = 0.9
"""How certain the forms that issuers publish are; what is only called a key or a password is less."""


class Secrets(Filter):
    """Drops documents with private keys, cloud tokens and other secrets, and tells their kinds in a column `secrets`."""

    version: ClassVar[int] = 2
    thresholds = frozenset({"max_secrets", "max_guessed"})
    carries = ("secrets",)
    reasons = {
        "secrets": "it has secrets in a form that their issuers publish",
        "guessed_secrets": "it has what is called a key or a password, and looks like one",
    }

    max_secrets: int | None = Field(
        0,
        ge=0,
        description="Most secrets in forms that their issuers publish (`aws_access_key`, `private_key`); null is any.",
    )
    max_guessed: int | None = Field(
        None,
        ge=0,
        description="Most of what is only called a key or a password, and is as random as one; null is any number.",
    )

    def columns(self) -> Sequence[str]:
        """None beside the text."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Finds the kinds."""
        import pyarrow as pa

        def measure(batch: pa.Table) -> pa.Table:
            found = [list(find_secrets(text)) for text in batch.column("text").to_pylist()]
            kinds = [", ".join(sorted({name for _, _, name, _ in one})) or None for one in found]
            certain = [sum(score >= PUBLISHED for *_, score in one) for one in found]
            return pa.table({
                "secrets": pa.array(kinds, pa.string()),
                "published": pa.array(certain, pa.int32()),
                "guessed": pa.array([len(one) - many for one, many in zip(found, certain, strict=True)], pa.int32()),
            })  # fmt: skip

        return measure

    def rules(self) -> Sequence[Rule]:
        """Published forms first."""
        return (
            Rule("secrets", "published", maximum=self.max_secrets),
            Rule("guessed_secrets", "guessed", maximum=self.max_guessed),
        )
