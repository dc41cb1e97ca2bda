"""How speech reaches the language model. A way is a module here that registers itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llaso_data.registry import Registry

if TYPE_CHECKING:
    from llaso_model.fusion.splice import Splice


@dataclass(frozen=True, slots=True)
class Fusion:
    """A way in which speech reaches the language model.

    Attributes:
        build: Makes the module of a model's configuration; what it has to do, :class:`Splice` shows.
        token_per_window: The text has one audio token for each window of speech, not one for each embedding.
        packs: Texts of several samples may lie end to end in one row.
        compiles: The blocks of the language model can be compiled.
    """

    build: Callable[[Any], Splice]
    token_per_window: bool = False
    packs: bool = True
    compiles: bool = True


FUSIONS: Registry[Fusion] = Registry("fusion", __name__, "llaso.fusions")
