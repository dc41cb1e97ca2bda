"""Fusions: how speech reaches the language model. Each is a module here that registers itself."""

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
        build: Makes the module of a model's configuration. It has the methods of :class:`Splice`.
        token_per_window: Whether the text has one audio token for each window of speech, not one for each embedding.
        packs: Whether texts of several samples may be packed into one row.
        compiles: Whether the blocks of the language model can be compiled.
    """

    build: Callable[[Any], Splice]
    token_per_window: bool = False
    packs: bool = True
    compiles: bool = True


FUSIONS: Registry[Fusion] = Registry("fusion", __name__, "llaso.fusions")
