"""One small real instance of everything that is written to be read again, and what reads it; see bench/flips.py.

A target gives what its readers make of the files. After a flipped bit they may refuse, say that something is made
again, or give the very same; to give anything else is to be silent.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.formats.tables import embedded_audio
from llaso_data.instruct.voices import Speech
from llaso_data.instruct.voices.cache import Line, kept, sealed
from llaso_data.io import cache, checksums, hub, storage
from llaso_data.pipeline import commit, hearing, shard_plan
from llaso_data.pipeline.instruct.listening import Listener, Said, hear
from llaso_data.pipeline.instruct.speech_job import Try, read_job, write_tries
from llaso_data.pipeline.judge import judge
from llaso_data.pipeline.observe_voices import SCHEMA as VOICES
from llaso_data.recipe import Align, Asr, Judge, Run, Shard
from llaso_data.report.audit import update_certificate
from llaso_data.shards import certificate, index, reader
from llaso_data.shards.validate import validate
from llaso_data.stream import Mixture, StreamingLoader
from llaso_data.stream.index_columns import IndexColumns
from llaso_data.stream.shard_cache import FileCache
from llaso_model.evaluate import score, store
from llaso_model.evaluate.datasets import files
from llaso_model.evaluate.predict import predict as predict
from llaso_model.train import checkpoint as train_checkpoint
from llaso_model.train import log
from llaso_model.train.config import TrainRecipe
from llaso_model.train.distributed import rank_context
from tests.support.evaluation import TASKS, prediction, scored
from tests.support.fuzz_targets import GOLDEN, make_align


@dataclass(frozen=True)
class Target:
    """``files`` are flipped, one at a time; ``read`` gives everything that comes of them, as what can be compared.

    ``forget`` makes this process forget what it has compared before; ``restore`` puts back what reading changed.
    """

    files: tuple[Path, ...]
    read: Callable[[], Any]
    forget: Callable[[], None] = lambda: None
    restore: Callable[[], None] = lambda: None


def table_of(path: Path) -> Any:
    """All that a table of build-align says, by the door through which every command reads it."""
    with columns.reading(str(path)) as file:
        found = pq.read_table(file)
    return found.to_pylist(), pq.read_schema(path).metadata, path.read_bytes()


def align_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """Build-align's output: a block file, verdicts, the manifest, a certificate."""
    out = str(folder)
    make_align(folder)
    block, verdicts = folder / "observations/block.parquet", folder / "verdicts/verdicts.parquet"

    def judged() -> Any:
        shard_plan.plan(out, Shard())
        return judge([commit.block_uri(out, "block")], Judge()).table.to_pylist(), table_of(block)

    def planned() -> Any:
        plan = shard_plan.plan(out, Shard())
        return plan.dataset, plan.row.tolist(), table_of(verdicts)

    commit.write_voices(out, "block", pa.Table.from_pylist([], schema=VOICES))
    yield "block file", Target((block,), judged)
    yield "block's voices", Target((folder / "voices/block.parquet",), lambda: commit.read_voices(out, "block"))
    yield "verdict table", Target((verdicts,), planned)
    yield "build-align's manifest", Target((folder / "manifest.json",), lambda: commit.manifest(out))


def certificate_target(folder: Path) -> Target:
    from tests.llaso_data.pipeline.test_judge import utterance
    from tests.llaso_data.report.test_audit import judge_all
    from tests.support.audit_fixtures import to_audit

    found = to_audit(folder, [utterance(number) for number in range(20)], 20)
    judge_all(found, "Ada", lambda _: "good")
    update_certificate(found)

    def read() -> Any:
        standing = certificate.of_records(str(folder), found.verdicts)
        if not standing.certified:
            raise checksums.DamagedError(str(standing))  # it is said with every summary and card
        return standing

    return Target((folder / "certificate.json",), read)


def shard_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    shutil.copytree(GOLDEN, folder)
    uri = str(folder)

    def sidecars() -> Any:
        found = [index.sidecar_info(str(path)) for path in sorted(folder.glob("shard-*.arrow"))]
        if None in found:
            raise checksums.DamagedError("a shard that is written again")  # as one whose sidecar is missing
        return found, [path.read_bytes() for path in sorted(folder.glob("shard-*.arrow"))]

    def opened() -> Any:
        return IndexColumns.open(uri).index.table.to_pylist(), (folder / "index.arrow").read_bytes()

    def valid() -> Any:
        if (report := validate(uri)).problems:
            raise checksums.DamagedError(str(report.problems))
        return report, [path.read_bytes() for path in sorted(folder.iterdir())]

    yield "sidecar", Target(tuple(sorted(folder.glob("shard-*.arrow"))), sidecars)
    yield "index.arrow", Target((folder / "index.arrow",), opened)
    yield "shards' manifest", Target((folder / "manifest.json",), lambda: reader.read_manifest(uri))
    yield "shards, validated", Target(tuple(sorted(folder.iterdir())), valid)


def state_target(folder: Path) -> Target:
    """A loader's state, kept as JSON."""
    folder.mkdir()
    loader = StreamingLoader(Mixture.of(str(GOLDEN)), "30s", decode=False)
    next(iter(loader))
    path = folder / "state.json"
    path.write_text(json.dumps(loader.state_dict()))

    def read() -> Any:
        again = StreamingLoader(Mixture.of(str(GOLDEN)), "30s", decode=False)
        try:
            state = json.loads(path.read_bytes())
        except ValueError as error:
            raise checksums.DamagedError("not JSON") from error  # by whoever keeps it as JSON
        again.load_state_dict(state)
        return again.state_dict()

    return Target((path,), read)


def run_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """A run of training: a checkpoint, and what is told of its steps."""
    module = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    with alone() as place:
        kept = train_checkpoint.Checkpoints(folder / "checkpoints", place, 2)
        for step in (1, 2):
            kept.save(module, optimizer, train_checkpoint.TrainProgress(step, {"step": step}, 0.5, "recipe"))
        kept.finish()
    whole = folder / "whole"
    shutil.copytree(folder / "checkpoints", whole)

    def resumed() -> Any:
        with alone() as place:
            found = train_checkpoint.Checkpoints(folder / "checkpoints", place, 2)
            progress = found.last()
            found.load(module, optimizer, progress)
        state = {name: value.tolist() for name, value in module.state_dict().items()}
        return progress, state, str(optimizer.state_dict()["state"])

    def restore() -> None:
        shutil.rmtree(folder / "checkpoints")
        shutil.copytree(whole, folder / "checkpoints")

    last = folder / "checkpoints" / "step-00000002"
    files = tuple(sorted(path for path in last.rglob("*") if path.is_file()))
    yield "training checkpoint", Target(files, resumed, restore=restore)
    metrics, told = folder / log.METRICS_FILE, folder / log.RECIPE_FILE
    metrics.write_text("".join(log._line({"step": n, "loss": 1 / n}) for n in range(1, 30)))
    yield "metrics of a run", Target((metrics,), lambda: log.read_metrics(folder))
    recipe = TrainRecipe.model_validate({"model": {"start": "x"}, "data": {"sources": [{"path": "y"}]}})
    checksums.write_json(str(told), recipe.model_dump(mode="json"))
    yield "recipe of a run", Target((told,), lambda: log.read_recipe(folder))


@contextmanager
def alone() -> Iterator[Any]:
    with rank_context("ddp") as place:
        yield place


def model_target(folder: Path) -> Target:
    """A model folder of a small model with random weights, as every command that is given one opens it."""
    from llaso import LLaSOModel
    from tests.support.training_fixtures import made_model

    made = made_model(folder)

    def read() -> Any:
        hub.checkpoint("MODEL", str(made), None, kind="llaso")
        model = LLaSOModel.from_pretrained(made)
        weights = {name: value.double().sum().item() for name, value in model.state_dict().items()}
        return weights, [path.read_bytes() for path in sorted(made.iterdir())]

    return Target(tuple(sorted(made.iterdir())), read)


def evaluation_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """The folder of a run of evaluate, and of score."""
    out, lines = str(folder), [{"id": str(n), "system": "a", "set": "ASR", "answer": f"said {n}"} for n in range(6)]
    run = {"format": predict.FORMAT, "format_version": predict.FORMAT_VERSION, "system": "a", "parts": 2}
    predict._claim_folder(storage.join(out, predict.RUN), run)
    for number in range(2):
        predict._write_part(out, number, lines[3 * number : 3 * number + 3])
    predict.join_parts(out)
    parts = tuple(Path(predict._part_path(out, number)) for number in range(2))

    def joined() -> Any:
        predict._claim_folder(storage.join(out, predict.RUN), run)
        return [Path(predict.join_parts(out)[0]).read_bytes()]

    def said() -> Any:
        return list(files.RowSource(out).files())

    yield "parts of an evaluation", Target((*parts, folder / predict.RUN), joined)
    yield "predictions", Target((folder / files.PREDICTIONS,), said)
    set_ = next(name for name, one in TASKS.sets.items() if one.kind == "transcript")
    score.write(scored([prediction(set_, f"said {n}", "said") for n in range(8)]), TASKS, out, 0, {})
    names = (folder / "scores.json", folder / "rows.parquet")
    yield (
        "scores",
        Target(
            names,
            lambda: (score.read_scores(out), store.read(str(names[1])), names[1].read_bytes()),
        ),
    )


def cache_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """What is made once and kept: an unpacked table, the note of a file's digest, an index fetched from a store.

    It is made again where it is damaged, so what comes of it never changes.
    """
    folder.mkdir()
    rows = [{"audio": {"bytes": b"RIFF" + bytes([n]) * 200, "path": "a.wav"}, "text": f"said {n}"} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
    (folder / "model.safetensors").write_bytes(bytes(100))
    fs = fsspec.filesystem("memory")
    for path in GOLDEN.iterdir():
        fs.pipe_file(f"/flips/{path.name}", path.read_bytes())
    files = FileCache(str(folder / "kept"), 10_000_000)

    def unpacked() -> Any:
        with own_cache(folder / "cache"):
            found = Path(
                embedded_audio.unpack_audio(embedded_audio.tables_with_audio(str(folder / "test.parquet")))
            ).parent
        return {path: path.read_bytes() for path in sorted(found.iterdir())}

    def weighed() -> Any:
        with own_cache(folder / "cache"):
            return hub.weights_digest(str(folder))

    def fetched() -> Any:
        return IndexColumns.open("memory://flips", files).index.table.to_pylist()

    yield "unpacked tables", Target(tuple(unpacked()), unpacked, cache._known_whole.clear)
    weighed()
    yield "note of a digest", Target(tuple((folder / "cache" / "digests").iterdir()), weighed)
    fetched()
    yield "index from a store, cached", Target(tuple((folder / "kept").glob("*.kept")), fetched)


def speech_targets(folder: Path) -> Iterator[tuple[str, Target]]:
    """What voices said, what Whisper heard of it, and the tries of a job."""
    folder.mkdir()
    speech = Speech((8000 * np.sin(np.arange(4000) / 5)).astype(np.int16), 24_000)
    sound, batch = folder / "line.flac", folder / "batch.json"
    sound.write_bytes(sealed(speech))
    who = Listener(Asr(), Align(), Run(), "whisper")
    verdict = folder / "line.whisper.json"
    told = {"hypothesis": "Hello.", "cer": 0.0, "errors": 0, "words": 1}
    checksums.write_json(str(batch), {"heard": {str(verdict): told}})
    said = Said(Line("Hello.", "en", "ann"), speech.pcm, str(sound))
    heard = hear(who, [said], str(batch))
    tried = Try(number=0, attempt=0, text="Hello.", language="en", take=0, hypothesis="Hello.", sound="ab" * 16)
    write_tries(str(folder), "job", [tried])

    def spoken() -> Any:
        return kept(str(sound)).pcm.tolist(), kept(str(sound)).rate_hz

    yield "speech in the cache of voices", Target((sound,), spoken)
    yield "what was heard of speech", Target((verdict, batch), lambda: hear(who, [said], str(batch)) == heard)
    yield "job of speech", Target((folder / "speech/job.parquet",), lambda: read_job(str(folder), "job").to_pylist())


def heard_target(folder: Path) -> Target:
    """What was heard of recordings, one of which cannot be decoded."""
    folder.mkdir()
    sound = np.random.default_rng(0).integers(-9999, 9999, 16_000, np.int16)
    soundfile.write(folder / "noise.wav", sound, 16_000)
    recordings = [
        hearing.Recording(place=(str(folder / name), None, None, None, None)) for name in ("noise.wav", "no.wav")
    ]
    place = hearing.Workplace(Run(engine="local"), str(folder))
    (block,) = hearing.hear_blocks([recordings], place)

    def read() -> Any:
        heard = hearing.read_block(str(folder), block.name)
        codes = [
            None if one.sound is None else (one.sound.codes.tobytes(), one.sound.doubts.tobytes()) for one in heard
        ]
        return codes, [(one.audio_id, one.duration_s, one.failure) for one in heard]

    return Target((folder / "heard" / f"{block.name}.parquet",), read)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache that is nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLASO_CACHE", str(folder))
        yield


def targets(folder: Path) -> dict[str, Target]:
    """All targets by name, made in an empty folder."""
    found = dict(align_targets(folder / "align"))
    found["certificate"] = certificate_target(folder / "audited")
    found |= dict(shard_targets(folder / "shards"))
    found["state of a loader"] = state_target(folder / "state")
    found |= dict(run_targets(folder / "run"))
    found["model folder"] = model_target(folder / "made")
    found |= dict(evaluation_targets(folder / "evaluated"))
    found |= dict(cache_targets(folder / "cached"))
    found |= dict(speech_targets(folder / "spoken"))
    found["heard recordings"] = heard_target(folder / "heard")
    return found


# Flipping

OUTCOMES = ("noticed", "identical", "silent", "crashed")


def flipped(folder: Path, flips: int, seed: int = 0, only: str = "") -> tuple[dict[str, Counter[str]], list[str]]:
    """(outcomes by kind, a line for each silent flip and each crash), of so many flips in all, in an empty folder."""
    found = {name: one for name, one in targets(folder).items() if only in name}
    counts: dict[str, Counter[str]] = {name: Counter() for name in found}
    wanted = {name: target.read() for name, target in found.items()}
    bad: list[str] = []
    draw = random.Random(seed)
    for number in range(flips):
        name = list(found)[number % len(found)]
        files = found[name].files
        path = draw.choices(files, [one.stat().st_size for one in files])[0]
        at, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
        outcome, said = once(found[name], wanted[name], path, at, bit)
        counts[name][outcome] += 1
        if outcome in ("silent", "crashed"):
            bad.append(f"{outcome.upper()} {name}: {path.name}, byte {at}, bit {bit}: {said}")
    return counts, bad


def once(target: Target, wanted: Any, path: Path, at: int, bit: int) -> tuple[str, str]:
    """What a flip comes to, and what was said of it."""
    whole, told = path.read_bytes(), io.StringIO()
    changed = bytearray(whole)
    changed[at] ^= bit
    path.write_bytes(changed)
    target.forget()
    try:
        with contextlib.redirect_stderr(told):
            found = target.read()
    except LLaSOError as error:
        return "noticed", str(error)
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    finally:
        target.restore()
        path.write_bytes(whole)
    if told.getvalue():
        return "noticed", told.getvalue()
    return ("identical", "") if found == wanted else ("silent", "")
