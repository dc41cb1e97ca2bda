"""Backends: what computes the tokens of the rows in an engine's slots. Each is a module here that registers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llaso_data.registry import Registry
from llaso_model.engine.requests import Details, Request


class Backend(Protocol):
    """Computes the next tokens of rows, each in a slot of its own.

    :meth:`prepare` is called from any thread, :meth:`decode` as well; the others from the thread that decodes.

    Attributes:
        processor: The model's.
        config: The model's configuration.
    """

    processor: Any
    config: Any

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""

    def prepare(self, request: Request) -> Any:
        """Makes a prompt of a request: decodes its audio, writes its text.

        Returns:
            What :meth:`admit` takes. ``tokens`` of it is how many tokens it has, those that stand for audio among them.

        Raises:
            LLaSOError: The conversation, its audio or a sampling parameter cannot be used.
        """

    def admit(self, prompts: Mapping[int, Any]) -> None:
        """Reads prompts into slots that are free. Where it raises, some of them may be read; :meth:`retire` them all.

        Args:
            prompts: By slot.
        """

    def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """Goes on with rows. Where it raises, all rows are as before, and any of them can be gone on with.

        Args:
            slots: Slots that have a row.

        Returns:
            The tokens that each of these rows has got, by slot; none for a row that has to wait.
        """

    def retire(self, slots: Iterable[int]) -> None:
        """Frees slots, whether or not they have a row."""

    def details(self, slot: int, count: int) -> Details:
        """What is known of the answer in a slot, whose request asks for details, and which has so many tokens."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of all tokens of an answer, without special tokens."""


@dataclass(frozen=True, slots=True)
class BackendKind:
    """A kind of backend.

    Attributes:
        open: Makes the backend of a model; (the model as the user named it, what errors call it, precision or None).
            Raises LLaSOError where there is no such model.
    """

    open: Callable[[str, str, str | None], Any]


BACKENDS: Registry[BackendKind] = Registry("backend", __name__, "llaso.backends")
