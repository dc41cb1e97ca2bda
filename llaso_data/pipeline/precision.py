"""The precision that an output is observed in: resolved once, by the driver, written down, and obeyed by every worker.

A recipe may say ``auto``. A worker of its own would make of it what its own processor has, and the blocks of one output
would differ by the machine that observed them. So the driver asks the machines before the first block.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from llaso_data.io import checksums, outputs, storage
from llaso_data.pipeline import commit, engines
from llaso_data.recipe import Observe, Recipe
from llaso_data.whisper.engine import Instructions, resolve_align_compute_type, resolve_compute_type

NAME = "precision.json"
AUTO = "auto"
NO_INSTRUCTIONS: Instructions = frozenset()

Precision = Mapping[str, str]
"""Section of ``observe`` → its compute type. As JSON it lies in the manifest, too."""


def resolve(settings: Observe, device: str, instructions: Instructions) -> dict[str, str]:
    """What the recipe's compute types stand for.

    Args:
        settings: The recipe's observing part.
        device: ``cpu`` or ``cuda``: what observes.
        instructions: What the processors of all machines that observe have.
    """
    resolved = {"asr": resolve_compute_type(settings.asr, device, instructions)}
    if settings.align is not None:
        resolved["align"] = resolve_align_compute_type(settings.align, device, instructions)
    return resolved


def settle(recipe: Recipe, out: str, open_until_end: ExitStack) -> tuple[dict[str, str], bool]:
    """The precision of an output.

    What the recipe states counts. Else the output's manifest counts, or what an unfinished run wrote down, on whichever
    machine it ran. An output of a version that wrote nothing down goes on as that version did, in int8. For a
    new output, or another engine, all machines are asked.

    Args:
        recipe: What to observe.
        out: The output's folder or URI.
        open_until_end: Takes the connection to a cluster that was asked, which observing uses again.

    Returns:
        The precision, and whether it is to be written down before the first block.

    Raises:
        LLaSOError: A file of the output is damaged, or there is no connection to the cluster.
    """
    settings = recipe.observe
    stated = _stated(settings)
    left_open = {name for name, value in stated.items() if value == AUTO}
    if not left_open:
        return stated, False
    written = _written(out)
    known = written.get(settings.asr.engine, {})
    is_new = not left_open <= known.keys()
    if is_new:
        open_until_end.enter_context(engines.connected(recipe.run))
        machines = engines.machines(recipe.run)
        begun_before = not written and (commit.committed(out) or outputs.is_there(commit.manifest_uri(out)))
        known = {
            **resolve(settings, machines.device, NO_INSTRUCTIONS if begun_before else machines.instructions),
            **known,
        }
    return {name: known[name] if value == AUTO else value for name, value in stated.items()}, is_new


def write_down(settings: Observe, precision: Precision, out: str) -> None:
    """Write the precision for later runs on the same output."""
    checksums.write_json(storage.join(out, NAME), {"engine": settings.asr.engine, "precision": dict(precision)})


def obeyed(settings: Observe, precision: Precision) -> Observe:
    """The settings of the workers: with the precision in place of ``auto``."""
    sections = {
        name: getattr(settings, name).model_copy(update={"compute_type": precision[name]}) for name in precision
    }
    return settings.model_copy(update=sections)


def named(settings: Observe, precision: Precision) -> Observe:
    """The settings of which blocks are named.

    ``auto`` was int8 on a CPU and float16 on a GPU before there was another choice, and texts were read in float32.
    Where it is one of these still, the names stay what they were, so that no output of then is observed anew.
    """
    before = [resolve(settings, device, NO_INSTRUCTIONS) for device in ("cpu", "cuda")]
    stated = _stated(settings)
    kept = {
        name: AUTO if stated[name] == AUTO and value in [one[name] for one in before] else value
        for name, value in precision.items()
    }
    return obeyed(settings, kept)


def refuse_foreign(out: str) -> None:
    """Raises LLaSOError where this run would replace a file that build-align did not write."""
    outputs.refuse(storage.join(out, NAME), "llaso-data build-align", lambda uri: _states(outputs.json_at(uri)))


def _stated(settings: Observe) -> dict[str, str]:
    stated: dict[str, str] = {"asr": settings.asr.compute_type}
    if settings.align is not None:
        stated["align"] = settings.align.compute_type
    return stated


def _states(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("precision"), dict)


def _written(out: str) -> dict[str, dict[str, str]]:
    """By Whisper's engine, the precision that an unfinished run wrote down, or the output's manifest, which wins."""
    found: dict[str, dict[str, str]] = {}
    try:
        unfinished = checksums.read_json(storage.join(out, NAME), "; remove it, and state the precision in the recipe")
        found[unfinished["engine"]] = unfinished["precision"]
    except FileNotFoundError:
        pass
    manifest = outputs.json_at(commit.manifest_uri(out))
    if _states(manifest):
        found[manifest["recipe"]["observe"]["asr"]["engine"]] = manifest["precision"]
    return found
