"""What every section of a recipe is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A section of settings. Unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
