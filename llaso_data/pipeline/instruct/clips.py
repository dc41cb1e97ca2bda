"""One clip of what voices said and of recordings, with pauses between: 16 kHz mono FLAC, named by what made it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, limited
from llaso_data.audio.encoding import encode
from llaso_data.audio.mixing import Pcm
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.instruct.voices import MAX_SPEECH_S
from llaso_data.instruct.voices.cache import kept
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.instruct.voices.variation import Variation, surrounded
from llaso_data.io import storage
from llaso_data.pipeline.instruct.spoken import Refusal, SpokenLine
from llaso_data.records import GIVEN, Attribute, Source, Speaker, Utterance, canonical, digest
from llaso_data.text import is_spaced

CORPUS = "voices"
"""The corpus that clips are said to be of."""

_LAYOUT = "instruct-clip-1"

Piece = SpokenLine | Utterance
"""A part of a clip: what a voice said, or a recording."""


def make_clip(
    pieces: Sequence[Piece], variation: Variation, pause_s: float, key: object, folder: str
) -> Utterance | Refusal:
    """Join what voices said and recordings to one clip.

    What voices said gets its loudness, room and noise; a recording stays as it is. Pauses are digital silence. The
    same arguments give the same file. A file that is there already is not written again.

    Args:
        pieces: In their order; at least one.
        variation: The ranges of loudness, room and noise.
        pause_s: Seconds between two pieces.
        key: Names the draw of the surroundings, such as a recipe's seed and a sample's id.
        folder: Where the clip is written, on a disk or a store.

    Returns:
        The clip: ``text`` and ``language`` are those of what voices said, ``speaker.id`` is their ``engine/voice`` and
        given, the licence names those of all pieces, consent is that of the recordings. Without a voice in it, language
        and speaker are those of the first recording. What a recording says is not repeated in ``text``. A Refusal
        where the clip would be longer than 30 s (``too_long``), or for the reason why a recording cannot be decoded.

    Raises:
        LLaSOError: A file of the cache of voices is damaged or gone.
    """
    try:
        sounds = [_pcm(piece, variation, (key, number)) for number, piece in enumerate(pieces)]
    except AudioError as error:
        return Refusal(error.reason, error.detail)
    pcm = _joined(sounds, pause_s)
    duration_s = len(pcm) / SAMPLE_RATE_HZ
    if duration_s > MAX_SPEECH_S:
        return Refusal("too_long", f"a clip of {duration_s:.1f} s, more than {MAX_SPEECH_S:g}")
    made_of = [part for piece, sound in zip(pieces, sounds, strict=True) for part in _named(piece, sound)]
    name = digest(_LAYOUT, canonical(asdict(variation)), pause_s, key, *made_of)
    uri = storage.join(storage.absolute(folder), name[:2], f"{name}.flac")
    if not storage.exists(uri):
        storage.write_bytes(uri, encode(pcm, "flac"))
    return _utterance(name, uri, pieces, pcm)


def _pcm(piece: Piece, variation: Variation, key: tuple[object, int]) -> Pcm:
    """16 kHz samples of a piece, in its surroundings where a voice said it. Raises AudioError for a bad recording."""
    if isinstance(piece, Utterance):
        # A second more than what fits, so that a long recording is not decoded to its end.
        try:
            return limited.decode_source(piece.source, max_duration_s=MAX_SPEECH_S + 1.0)
        except AudioError as error:
            if error.reason == "too_long":
                raise AudioError("too_long", f"{piece.source.uri}: longer than {MAX_SPEECH_S:g} s") from error
            raise
    try:
        speech = kept(piece.uri)
    except FileNotFoundError as error:
        raise LLaSOError(
            f"{piece.uri}: gone from the cache of voices while the run went on; the same command speaks it again"
        ) from error
    return surrounded(speech.at_16_khz(), variation, *key)


def _joined(sounds: Sequence[Pcm], pause_s: float) -> Pcm:
    pause = np.zeros(round(pause_s * SAMPLE_RATE_HZ), np.int16)
    parts = [part for sound in sounds for part in (pause, sound)][1:]
    return np.concatenate(parts)


def _named(piece: Piece, pcm: Pcm) -> tuple[str, str]:
    """What of a piece decides the clip: which line it is, or which recording; and its samples."""
    if isinstance(piece, Utterance):
        return piece.id, audio.audio_id(pcm)
    return piece.request.key, audio.audio_id(pcm)


def _utterance(name: str, uri: str, pieces: Sequence[Piece], pcm: Pcm) -> Utterance:
    lines = [piece for piece in pieces if isinstance(piece, SpokenLine)]
    recordings = [piece for piece in pieces if isinstance(piece, Utterance)]
    licences = [line.licence for line in lines] + [one.source.license for one in recordings]
    source = Source(
        corpus=CORPUS,
        uri=uri,
        sampling_rate_hz=SAMPLE_RATE_HZ,
        channels=1,
        license=_all(licences),
        consent=_all(one.source.consent for one in recordings),
    )
    made = Utterance(
        id=name,
        recording=name,
        source=source,
        audio_id=audio.audio_id(pcm),
        duration_s=len(pcm) / SAMPLE_RATE_HZ,
    )
    if not lines:
        first = recordings[0]
        return replace(made, language=first.language, language_origin=first.language_origin, speaker=first.speaker)
    language = lines[0].request.language
    text = (" " if is_spaced(language) else "").join(
        spoken_text(line.request.text, line.request.language) for line in lines
    )
    voices = _all(line.name for line in lines)
    return replace(
        made,
        language=language,
        language_origin=GIVEN,
        text=text,
        text_origin=GIVEN,
        speaker=Speaker(id=Attribute(voices or "", GIVEN)),
    )


def _all(values: Iterable[str | None]) -> str | None:
    """All different values, in their order; None where there is none."""
    known = list(dict.fromkeys(value for value in values if value))
    return "; ".join(known) or None
