"""Corpora that Lhotse has a recipe for: the recipe reads the folder, and its manifests are taken as JSON.

The recipe is Lhotse's own code, which the user names. It holds the manifests of the whole corpus in memory.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for
from llaso_data.io import storage

_PREPARE = "prepare_"
_OUT = "output_dir"


def recipe_of(name: str) -> Callable[..., Any]:
    """Lhotse's function for a corpus.

    Raises:
        LLaSOError: Lhotse is not installed, has no such recipe, or the recipe needs more than a folder.
    """
    with needed_for(f"the layout lhotse:{name}"):
        from lhotse import recipes
    found = {one.removeprefix(_PREPARE): getattr(recipes, one) for one in dir(recipes) if one.startswith(_PREPARE)}
    fitting = sorted(one for one, function in found.items() if callable(function) and _takes_a_folder(function))
    if name not in fitting:
        why = "needs more than one folder" if name in found else "is no recipe of Lhotse's"
        raise LLaSOError(f"lhotse:{name}: {name!r} {why}; those that read a folder are {', '.join(fitting)}")
    recipe: Callable[..., Any] = found[name]
    return recipe


def _takes_a_folder(recipe: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(recipe).parameters.values())
    needed = [one.name for one in parameters if one.default is inspect.Parameter.empty]
    return bool(parameters) and not set(needed) - {parameters[0].name, _OUT} and parameters[0].name != _OUT


def prepared(name: str, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run a recipe on a folder.

    Args:
        name: Of the recipe: ``librispeech``.
        folder: Path of the corpus on a disk.

    Yields:
        The place of a supervision (``lhotse:librispeech/dev-clean/ID``), and the cut of its recording, as JSON.

    Raises:
        LLaSOError: As of :func:`recipe_of`; or the recipe failed, or gave no manifests.
    """
    recipe = recipe_of(name)
    if not storage.is_local(folder):
        raise LLaSOError(f"{folder}: Lhotse's recipes read folders on a disk; copy it, or mount it")
    parameters = inspect.signature(recipe).parameters
    with storage.scratch() as out:
        needs_out = _OUT in parameters and parameters[_OUT].default is inspect.Parameter.empty
        try:
            manifests = recipe(folder, **({_OUT: out} if needs_out else {}))
        except Exception as error:
            logging.getLogger(__name__).debug("Lhotse's recipe failed", exc_info=True)
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise LLaSOError(f"{folder}: Lhotse's recipe {name} cannot read it ({said})") from error
        sets = list(_sets(manifests, ""))
        if not sets:
            raise LLaSOError(f"{folder}: Lhotse's recipe {name} gave no recordings with supervisions")
        for path, recordings, supervisions in sets:
            yield from _cuts(f"lhotse:{name}{path}", recordings, supervisions)


def _sets(manifests: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The pairs of recordings and supervisions, however deep they lie; recipes give some of them swapped."""
    from lhotse import RecordingSet, SupervisionSet

    inside = list(manifests.values()) if isinstance(manifests, Mapping) else manifests
    if not isinstance(inside, (list, tuple)):
        return
    recordings = [one for one in inside if isinstance(one, RecordingSet)]
    supervisions = [one for one in inside if isinstance(one, SupervisionSet)]
    if len(recordings) == 1 and len(supervisions) == 1:
        yield path, recordings[0], supervisions[0]
    elif isinstance(manifests, Mapping):
        for name, below in manifests.items():
            yield from _sets(below, f"{path}/{name}")


def _cuts(place: str, recordings: Any, supervisions: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {recording.id: recording for recording in recordings}
    for supervision in supervisions:
        stated = supervision.to_dict()
        recording = known.get(supervision.recording_id)
        whole = None if recording is None else recording.to_dict()
        yield (
            f"{place}/{supervision.id}",
            {
                "start": 0.0,
                "duration": None if whole is None else whole["duration"],
                "recording": whole,
                "channel": stated.get("channel"),
                "supervisions": [stated],
            },
        )
