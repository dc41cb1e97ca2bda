"""What is compared of a sample: its ids, how its clips sound, what is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llaso_data.audio import Pcm, audio_id
from llaso_data.instruct.leakage.fingerprint import Fingerprint, fingerprint
from llaso_data.instruct.leakage.texts import NormalText
from llaso_data.records import Sample
from llaso_data.records.sample import ANSWERING, AUDIO, TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTraits:
    """What is compared of a sample.

    Attributes:
        id: Its id.
        where: Where it is, for a person.
        names: What ``llaso-data remove --list`` calls it.
        audio_ids: Of its clips: as its records state them, and as the sound that was decoded gives them.
        sounds: The fingerprints of the clips that were decoded.
        texts: What is said in its clips; of a prompt without sound, what the user writes.
    """

    id: str
    where: str
    names: tuple[str, ...]
    audio_ids: tuple[str, ...] = ()
    sounds: tuple[Fingerprint, ...] = ()
    texts: tuple[NormalText, ...] = ()


def traits_of(
    sample: Sample, pcms: Sequence[Pcm | None] = (), *, where: str = "", key: str | None = None
) -> SampleTraits:
    """What is compared of a sample.

    Args:
        sample: The sample.
        pcms: The sound of its audios, int16 at 16 kHz, in their order; None of what was not decoded.
        where: Where it is, for a person. Default: its id.
        key: Its key in shards.
    """
    heard = [pcm for pcm in pcms if pcm is not None]
    stated = (one.audio_id for one in sample.audios if one.audio_id)
    normal = (NormalText.of(text, language) for text, language in _texts(sample))
    of_audios = tuple(dict.fromkeys(one.id for one in sample.audios))
    return SampleTraits(
        id=sample.id,
        where=where or sample.id,
        names=(key,) if key else of_audios or (sample.id,),
        audio_ids=tuple(dict.fromkeys([*stated, *map(audio_id, heard)])),
        sounds=tuple(map(fingerprint, heard)),
        texts=tuple(dict.fromkeys(text for text in normal if text.text)),
    )


def _texts(sample: Sample) -> Iterator[tuple[str, str | None]]:
    """What is said and, where nothing is heard, what is asked. Instructions about a sound are those of many samples."""
    for one in sample.audios:
        language = one.language or sample.language
        for text in (one.text, one.text_given):
            if text:
                yield text, language
    prompt = []
    for message in sample.messages:
        if message.role == ANSWERING:
            break
        prompt.append(message)
    if not any(part.type == AUDIO for message in prompt for part in message.content):
        for message in prompt:
            for part in message.content:
                if message.role == "user" and part.type == TEXT and part.text:
                    yield part.text, sample.language
