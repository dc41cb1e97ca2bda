"""The samples of a source of any kind: a corpus, conversations, shards, or the output of build-align."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from llaso_data import formats, records
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.rows.conversation import SourceSample
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.instruct.asr import TRANSCRIPTION
from llaso_data.io import hub_files, hub_open, hugging_face, outputs, storage
from llaso_data.io.hub_files import HubTree
from llaso_data.pipeline import commit
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import ASR, Failure, Input, Message, Sample, Utterance
from llaso_data.shards import in_place, layout, manifest, reader
from llaso_data.shards.sound_spool import Place, place_of, said_by, shown_place
from llaso_data.text.markup import clean

NO_TEXT = "no_text"
"""The reason of a clip of which the source says no text, so that there is nothing to learn from it."""

ALIGN, SHARDS = "align", "shards"
"""Kinds of sources that no layout reads: what build-align writes, and shards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A sample that is to be written.

    Attributes:
        sample: Its audios say where they come from.
        places: Where the sound of each audio is now.
        version: Changes with the bytes of the audios, as far as the source says it.
        stated_s: How long the source says that each audio is, seconds.
        where: The place that says the sample: ``data.csv:12``; empty where that is its audio.
        id: The sample's.
    """

    sample: Sample
    places: tuple[Place, ...]
    version: str = ""
    stated_s: tuple[float | None, ...] = ()
    where: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.sample.id)


records.pickling.register(Converted)


@dataclass(frozen=True, slots=True)
class OpenSamples:
    """A source whose kind is known.

    Attributes:
        kind: :data:`ALIGN` or :data:`SHARDS`; None: a layout reads it.
        source: Of a layout: the source, listed.
        hub: Of a source on the hub: the repository at its commit.
    """

    spec: SourceSpec
    notes: Counter[str]
    kind: str | None
    source: formats.OpenSource | None = None
    hub: HubTree | None = None


def open_samples(
    spec: SourceSpec, settings: Convert, notes: Counter[str], labels: frozenset[str] = frozenset()
) -> OpenSamples:
    """Find out what a source is, and list its files.

    Args:
        spec: The source, as a recipe names it.
        settings: Which text.
        notes: Counts what is to be said of the source besides its samples.
        labels: As of :func:`llaso_data.formats.open_source`.

    Raises:
        LLaSOError: The source is not there, or no layout reads it; or it has no such text.
    """
    listed = hub_tree(spec, notes)
    may_be_ours = listed is None or any(file.path == layout.MANIFEST for file in listed[0].files)
    kind = manifest_kind(spec) if may_be_ours else None
    if settings.text == "hypotheses" and kind != ALIGN:
        raise LLaSOError(
            f"{spec.path}: --text hypotheses needs what Whisper transcribed; run `llaso-data build-align` on it, and "
            "convert its output"
        )
    if spec.map and kind is not None:
        raise LLaSOError(f"{spec.path}: a map is for the rows of a corpus; {kind} has none")
    if kind is not None:
        return OpenSamples(spec, notes, kind)
    tree, hub = listed or (None, None)
    return OpenSamples(spec, notes, None, formats.open_source(spec, notes, tree, labels), hub)


def samples(spec: SourceSpec, settings: Convert, notes: Counter[str]) -> Iterator[Converted | Failure]:
    """Every sample of a source. Args and errors are those of :func:`open_samples`, the answer :func:`samples_of`'s."""
    return samples_of(open_samples(spec, settings, notes), settings)


def samples_of(one: OpenSamples, settings: Convert) -> Iterator[Converted | Failure]:
    """Every sample of an open source.

    Args:
        one: The source.
        settings: Which text, and the seed of instructions.

    Returns:
        The samples in the source's order; a failure for every row that gives none.
    """
    spec, notes, kind, source = one.spec, one.notes, one.kind, one.source
    if kind == ALIGN:
        return _of_align(storage.absolute(spec.path), spec, settings)
    if kind == SHARDS:
        stated = reader.read_manifest(spec.path)
        reader.open_index(spec.path)
        return _of_index(spec) if stated.get("profile") == manifest.IN_PLACE else _of_shards(spec)
    assert source is not None
    if source.holds_conversations:
        if spec.map:
            notes[f"map not used: {spec.path} holds conversations"] += 1
        rows = formats.conversation_samples(source)
        return map(of_conversation, rows)
    return (_of_row(row, one, settings) for row, one in formats.corpus_rows(source))


def hub_tree(spec: SourceSpec, notes: Counter[str]) -> tuple[FileTree, HubTree] | None:
    """The files of a repository on the hub, at its commit; None for one file, a pattern, or a source elsewhere."""
    root = storage.absolute(spec.path)
    if storage.scheme(root) != "hf" or "{" in root:
        return None
    try:
        hub = hub_files.tree(root)
    except storage.AddressError:
        if storage.is_file(root):
            return None
        raise
    hub_open.remember(root, hub)
    folder = f"{hugging_face.parse(root).folder}/".lstrip("/")
    files = (ListedFile(file.path[len(folder) :], file.size_bytes, file.sha256 or file.oid) for file in hub.files)
    visible = (file for file in files if not any(part.startswith(".") for part in file.path.split("/")))
    return FileTree(root, files=tuple(visible), notes=notes), hub


def of_conversation(row: SourceSample | Failure) -> Converted | Failure:
    """A conversation as it is written."""
    if isinstance(row, Failure):
        return row
    return Converted(
        sample=row.sample,
        places=_places(row.sample),
        version=row.version,
        stated_s=row.stated_s,
        where=_said_in(row.sample),
    )


def manifest_kind(spec: SourceSpec) -> str | None:
    """:data:`ALIGN` or :data:`SHARDS`, by the manifest of the source; None where a layout reads it."""
    if spec.type == formats.AUTO:
        try:
            stated = outputs.json_at(storage.join(storage.absolute(spec.path), layout.MANIFEST))
        except NotADirectoryError:
            stated = None
        if manifest.is_manifest(stated):
            return SHARDS
        if commit.is_manifest(stated):
            return ALIGN
    return None


def _places(sample: Sample) -> tuple[Place, ...]:
    return tuple(map(place_of, sample.audios))


def _said_in(sample: Sample) -> str:
    provenance = sample.provenance
    if provenance is None or provenance.file is None:
        return ""
    return provenance.file if provenance.row is None else f"{provenance.file}:{provenance.row}"


def _of_row(row: SourceRow, one: Input, settings: Convert) -> Converted | Failure:
    utterance, asked = one.utterance, row.asked
    if utterance.failure is not None:
        return utterance.failure
    try:
        utterance = _with_text(utterance, settings)
        sample = _asked(asked, utterance, settings) if asked else None
        if sample is None and not utterance.text:
            return said_by(row.where, Failure(NO_TEXT, f"{shown_place(utterance)}: the source says no text of it"))
        sample = sample or TRANSCRIPTION.make(utterance, settings.seed)
    except LLaSOError as error:
        return said_by(row.where, Failure("bad_row", f"{shown_place(utterance)}: {error}"))
    return Converted(
        sample=sample, places=_places(sample), version=one.version, stated_s=(row.stated_s,), where=row.where
    )


def _with_text(utterance: Utterance, settings: Convert) -> Utterance:
    if settings.text != "clean" or not utterance.text:
        return utterance
    text = clean(utterance.text).text
    return replace(
        utterance, text=text or None, text_given=None if text == utterance.text else utterance.text, words=()
    )


def _asked(asked: Mapping[str, str], utterance: Utterance, settings: Convert) -> Sample | None:
    """The sample that a map describes; None where it says neither what is asked nor what is answered."""
    instruction, answer = asked.get("instruction"), asked.get("answer", utterance.text)
    if not {"instruction", "answer"} & asked.keys():
        if not utterance.text:
            return None
        made = TRANSCRIPTION.make(utterance, settings.seed)
        return replace(made, task=asked.get("task") or made.task, split=asked.get("split") or None)
    if not answer:
        raise LLaSOError("the map gives no answer")
    parts: list[str | int] = [instruction, 0] if instruction else [0]
    return Sample(
        task=asked.get("task") or "conversation",
        messages=(Message.of("user", *parts), Message.of("assistant", answer)),
        audios=(utterance,),
        language=utterance.language,
        split=asked.get("split") or None,
    )


def _of_align(out: str, spec: SourceSpec, settings: Convert) -> Iterator[Converted | Failure]:
    return (_of_observed(utterance, settings) for utterance in islice(accepted(out), spec.limit))


def accepted(out: str) -> Iterator[Utterance]:
    """What an output of build-align accepted, with words and scores, in the order of its blocks."""
    stated = commit.manifest(out)
    wanted = records.schema(Utterance).names
    for verdicts, observations in commit.judged(out, stated, wanted):
        for verdict, utterance in zip(
            verdicts["verdict"].to_pylist(), records.from_table(observations, Utterance), strict=True
        ):
            if verdict == records.ACCEPTED:
                yield utterance


def _of_observed(utterance: Utterance, settings: Convert) -> Converted | Failure:
    if settings.text == "hypotheses" and utterance.text_origin != ASR:
        text = clean(utterance.hypothesis or "").text or None
        utterance = replace(utterance, text=text, text_origin=ASR, text_given=None, words=())
    elif settings.text == "given" and utterance.text_given:
        utterance = replace(utterance, text=utterance.text_given, text_given=None, words=())
    if not utterance.text:
        return Failure(NO_TEXT, f"{shown_place(utterance)}: Whisper transcribed nothing of it")
    sample = TRANSCRIPTION.make(utterance, settings.seed)
    return Converted(sample=sample, places=_places(sample), version=utterance.audio_id or "")


def _of_index(spec: SourceSpec) -> Iterator[Converted | Failure]:
    """The samples of a set that is indexed in place."""
    index = reader.open_index(spec.path)
    rows = ((uri, row) for number, uri in enumerate(index.shards) for row in index.rows_of(number))
    for uri, row in islice(rows, spec.limit):
        try:
            sample, places = in_place.described(uri, row)
        except LLaSOError as error:
            yield Failure("damaged", str(error))
            continue
        yield Converted(sample=sample, places=tuple(places), version=str(row["parts"]))


def _of_shards(spec: SourceSpec) -> Iterator[Converted | Failure]:
    for stored in islice(reader.stored_samples(spec.path), spec.limit):
        if isinstance(stored, reader.StoredSample):
            yield _of_stored(stored)
        else:
            yield Failure("damaged", str(stored))


def _of_stored(stored: reader.StoredSample) -> Converted:
    sums = {part["ext"]: part["crc32"] for part in stored.row["parts"]}
    places: list[Place] = [(stored.shard, f"{stored.key}.{part}", None, None, None) for part in stored.parts]
    audios = tuple(
        # Opus is lossy: what is decoded of it is not what its digest names.
        replace(audio, audio_id=None) if part.endswith("opus") else audio
        for audio, part in zip(stored.sample.audios, stored.parts, strict=True)
    )
    version = " ".join(str(sums[part]) for part in stored.parts)
    where = f"{stored.shard}!{stored.key}"
    return Converted(sample=replace(stored.sample, audios=audios), places=tuple(places), version=version, where=where)
