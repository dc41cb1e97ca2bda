"""What is compared of a sample: its ids, how its clips sound, what is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from llaso_data.instruct.leakage.fingerprint import Fingerprint
from llaso_data.instruct.leakage.texts import NormalText
from llaso_data.records import Sample
from llaso_data.records.sample import ANSWERING, AUDIO, TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTraits:
    """What is compared of a sample.

    Attributes:
        ids: Its id; with those of its recordings, where these tell that it is the same.
        where: Where it is, for a person.
        names: What ``llaso-data remove --list`` calls it.
        audio_ids: Of its clips: as its records state them, and as the sound that was decoded gives them.
        sounds: The fingerprints of the clips that were decoded.
        texts: What is said in its clips; of a prompt without sound, what the user writes.
    """

    ids: tuple[str, ...] = ()
    where: str
    names: tuple[str, ...] = ()
    audio_ids: tuple[str, ...] = ()
    sounds: tuple[Fingerprint, ...] = ()
    texts: tuple[NormalText, ...] = ()

    def hearing(self, sounds: Iterable[tuple[str, Fingerprint]]) -> SampleTraits:
        """The same, with what was decoded of the clips: the digest of each sound, and its fingerprint."""
        heard = list(sounds)
        audio_ids = tuple(dict.fromkeys([*self.audio_ids, *(audio_id for audio_id, _ in heard)]))
        return replace(self, audio_ids=audio_ids, sounds=tuple(sound for _, sound in heard))


def traits_of(sample: Sample, *, where: str = "", key: str | None = None, by_recording: bool = False) -> SampleTraits:
    """What is compared of a sample, as far as it is told without decoding.

    Args:
        sample: The sample.
        where: Where it is, for a person. Default: its id.
        key: Its key in shards.
        by_recording: Whether the ids of its recordings are compared, too.
    """
    of_audios = tuple(dict.fromkeys(one.id for one in sample.audios))
    return SampleTraits(
        ids=(sample.id, *(of_audios if by_recording else ())),
        where=where or sample.id,
        names=(key,) if key else of_audios or (sample.id,),
        audio_ids=tuple(dict.fromkeys(one.audio_id for one in sample.audios if one.audio_id)),
        texts=normal_texts(_texts(sample)),
    )


def normal_texts(texts: Iterable[tuple[str, str | None]]) -> tuple[NormalText, ...]:
    """Texts with their languages as they are compared: normalised, each once, none that is empty then."""
    normal = (NormalText.of(text, language) for text, language in texts)
    return tuple(dict.fromkeys(text for text in normal if text.text))


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
