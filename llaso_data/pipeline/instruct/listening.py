"""A worker's Whisper, which stays loaded between jobs, and what it heard, which is kept beside the speech."""

from __future__ import annotations

import atexit
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llaso_data.audio.mixing import Pcm
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices.cache import Line
from llaso_data.io import checksums, storage
from llaso_data.languages import language_name
from llaso_data.pipeline import engines, memory, precision
from llaso_data.pipeline.listen_back import Heard, Transcribe, listen_back
from llaso_data.recipe import Align, Asr, Observe, Run
from llaso_data.records import SCORE_DECIMALS, digest
from llaso_data.text import pinyin
from llaso_data.whisper.engine import resolve_device

LISTENING_VERSION = 2
"""Increased when the same Whisper gives other verdicts than before."""

_loaded: dict[str, tuple[Transcribe, Transcribe]] = {}


@dataclass(frozen=True, slots=True)
class Listener:
    """Which Whisper listens, and how.

    Attributes:
        asr: The recipe's section.
        align: The recipe's section.
        run: Device and threads.
        identity: Of :func:`identity`.
    """

    asr: Asr
    align: Align | None
    run: Run
    identity: str


@dataclass(frozen=True, slots=True)
class Said:
    """A line, its samples at 16 kHz, and its file in the cache."""

    line: Line
    pcm: Pcm
    uri: str


def listener(observe: Observe, run: Run) -> Listener:
    """The listener of a recipe.

    A task of Ray has one core and no GPU of its own. The precision is what all machines have; every worker obeys it.

    Raises:
        LLaSOError: There is no such Whisper, or no connection to the cluster.
    """
    instructions = engines.instructions(run)
    if run.engine == "ray":
        run = run.model_copy(update={"threads": 1, "device": "cpu" if run.device == "auto" else run.device})
    device = run.device if run.engine == "ray" else resolve_device(run)
    resolved = precision.resolve(observe, device, instructions)
    obeyed, named = precision.obeyed(observe, resolved), precision.named(observe, resolved)
    return Listener(obeyed.asr, obeyed.align, run, identity(named.asr, named.align))


def identity(asr: Asr, align: Align | None) -> str:
    """The digest of what decides what is heard, beside the sound: weights, settings, and the reader of Chinese.

    Raises:
        LLaSOError: There is no such Whisper.
    """
    from llaso_data.io.hub import weights_digest
    from llaso_data.pipeline.observe import OBSERVING_VERSION
    from llaso_data.whisper.load import checkpoint_folder

    settings = [
        json.dumps(section.model_dump(mode="json", exclude=left_out, exclude_none=True), sort_keys=True)
        for section, left_out in ((asr, {"model", "revision"}), (align or Align(), {"compute_type"}))
    ]
    weights = weights_digest(checkpoint_folder(asr.model, asr.revision))
    return digest("listening", OBSERVING_VERSION, LISTENING_VERSION, *settings, weights, pinyin.version())


def check_languages(asr: Asr, languages: Collection[str]) -> None:
    """Raises LLaSOError where the recipe's Whisper cannot judge what is spoken in one of the languages."""
    from llaso_data.whisper.load import checkpoint_folder
    from llaso_data.whisper.tokenizer import WhisperTokenizer

    vocabulary = WhisperTokenizer.load(checkpoint_folder(asr.model, asr.revision))
    vocabulary = replace(vocabulary, related_languages=vocabulary.parse_related_languages(asr.whisper_language))
    for code in sorted(languages):
        if vocabulary.is_foreign(code) or not vocabulary.token_language(code):
            raise LLaSOError(
                f"observe.asr.model: {asr.model} does not know {language_name(code)}, so that what voices say in it "
                "cannot be listened back; name a Whisper of many languages with --asr, or leave the language out of "
                "instruct.languages"
            )


def hear(who: Listener, said: Sequence[Said], batch: str) -> list[Heard]:
    """What Whisper hears of lines, each of which is listened to once as long as the cache is kept.

    What is heard of a line may depend on the lines of its window. Therefore the lines that are heard together are
    committed as one file, ``batch``, before any verdict is laid beside its speech: a run that is killed in between goes
    on with the same verdicts.

    Args:
        who: Which Whisper.
        said: Lines with their samples.
        batch: Where the verdicts of those lines are committed that were not heard before.

    Returns:
        What was heard, in the order of the lines.
    """
    uris = [_verdict_uri(one.uri, who) for one in said]
    known = {uri: data for uri, data in zip(uris, storage.read_many(uris), strict=True) if data is not None}
    verdicts = {uri: _opened(data, uri) for uri, data in known.items()}
    verdicts |= _committed(batch)  # after the single verdicts were looked for: these are written after it
    new = [number for number, uri in enumerate(uris) if uri not in verdicts]
    if new:
        together, alone = _listeners(who)
        heard = listen_back(together, [said[n].line for n in new], [said[n].pcm for n in new], alone)
        fresh = {uris[number]: _stated(one) for number, one in zip(new, heard, strict=True)}
        checksums.write_json(batch, {"heard": fresh})
        verdicts |= fresh
    for uri in uris:
        if uri not in known:
            checksums.write_json(uri, verdicts[uri])
    return [Heard(one.line, **verdicts[uri]) for one, uri in zip(said, uris, strict=True)]


def release() -> None:
    """Free the Whisper that this process has loaded."""
    _loaded.clear()


atexit.register(release)  # before the interpreter takes apart what its threads need


def _listeners(who: Listener) -> tuple[Transcribe, Transcribe]:
    from llaso_data.pipeline.transcription import listeners
    from llaso_data.whisper.load import load

    key = digest(who.identity, who.asr.model_dump_json(), who.run.device, who.run.threads)
    if key not in _loaded:
        release()
        memory.keep()
        _loaded[key] = listeners(load(who.asr, who.run), who.asr, who.align)
    return _loaded[key]


def _verdict_uri(sound: str, who: Listener) -> str:
    return f"{sound.removesuffix('.flac')}.{who.identity[:16]}.json"


def _committed(batch: str) -> dict[str, dict[str, Any]]:
    try:
        data = storage.read_bytes(batch)
    except FileNotFoundError:
        return {}
    heard: dict[str, dict[str, Any]] = _opened(data, batch)["heard"]
    return heard


def _opened(data: bytes, uri: str) -> dict[str, Any]:
    """What a file of ours says was heard. Raises LLaSOError where it is damaged."""
    remedy = "; remove it, and what it is of is listened to again"
    try:
        stated = json.loads(data)
    except ValueError as error:
        raise LLaSOError(f"{uri} is not JSON: {error}{remedy}") from error
    if not isinstance(stated, dict):
        raise LLaSOError(f"{uri} is not what was heard{remedy}")
    return checksums.opened(stated, uri, remedy)


def _stated(heard: Heard) -> dict[str, Any]:
    values = {name: value for name, value in asdict(heard).items() if name != "line"}
    return {name: round(value, SCORE_DECIMALS) if isinstance(value, float) else value for name, value in values.items()}
