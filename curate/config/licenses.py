"""Which licences a version may have: the gate `licenses` of a pipeline.

    licenses: {allow: [CC0-1.0, CC-BY-4.0, null]}     null lets documents pass whose licence nobody knows

Licences are SPDX ids in a column. Ids are the same in any case (SPDX 2.3, annex D). Of `A OR B` one is enough, `A AND B` needs
both; an expression with parentheses passes only where it is listed as it stands.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Licenses"]


class Licenses(BaseModel):
    """The licences that a version may have; one with others fails, as with any gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str | None, ...] = Field(
        min_length=1, description="SPDX ids, or expressions of them; null: documents whose licence nobody knows"
    )
    column: str = Field("license", description="column that has them")

    def allows(self, expression: str | None) -> bool:
        """Whether documents under this licence may be in the version."""
        if expression is None:
            return None in self.allow
        listed = {one.lower() for one in self.allow if one is not None}
        whole = " ".join(expression.lower().split())
        if whole in listed or "(" in whole:
            return whole in listed
        return any(all(part in listed for part in one.split(" and ")) for one in whole.split(" or "))
