"""What other tools do in `bench/convert.py`: read WAVs by a manifest, write 16-bit FLAC with text, with two processes.

Run by the interpreter of an environment that has the tool: ``convert_peers.py TOOL MANIFEST OUT``, and with ``--check``
to read the output back and print a digest of all sounds and texts. It imports nothing of LLaSO.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARD, PROCESSES = 256, 2


def rows(manifest: str) -> list[dict[str, Any]]:
    with open(manifest, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def flac_of(path: str) -> bytes:
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def lhotse_shar(manifest: str, out: str) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    def cut(row: dict[str, Any]) -> MonoCut:
        recording = Recording.from_file(row["audio_filepath"])
        name = recording.id
        said = SupervisionSegment(name, name, 0.0, recording.duration, text=row["text"])
        return MonoCut(name, 0.0, recording.duration, 0, supervisions=[said], recording=recording)

    Path(out).mkdir()
    cuts = CutSet.from_cuts(map(cut, rows(manifest)))
    cuts.to_shar(out, {"recording": "flac"}, shard_size=SHARD, num_jobs=PROCESSES)


def read_lhotse_shar(out: str) -> Iterator[tuple[str, bytes]]:
    from lhotse import CutSet

    for cut in CutSet.from_shar(in_dir=out):
        samples = (cut.load_audio()[0] * 32768).round().astype("<i2")
        yield cut.supervisions[0].text, samples.tobytes()


def _nemo_flac(path: str) -> bytes:
    """The calls that NeMo's script makes to transcode a file: it is probed, and read as float64."""
    import soundfile

    soundfile.info(path)
    samples, rate_hz = soundfile.read(path, start=0, frames=-1)
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, closefd=False, format="flac")
    return file.getvalue()


def _nemo_shard(job: tuple[int, list[dict[str, Any]], str]) -> None:
    """As NeMo's convert_to_tarred_audio_dataset.py --force_codec flac: a tar of sounds, and a manifest of its rows."""
    number, chosen, out = job
    with (
        tarfile.open(f"{out}/audio_{number}.tar", "w") as tar,
        open(f"{out}/manifest_{number}.json", "w", encoding="utf-8") as manifest,
    ):
        for row in chosen:
            data = _nemo_flac(row["audio_filepath"])
            info = tarfile.TarInfo(f"{Path(row['audio_filepath']).stem}.flac")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            manifest.write(json.dumps({**row, "audio_filepath": info.name, "shard_id": number}) + "\n")


def nemo_tarred(manifest: str, out: str) -> None:
    from multiprocessing import Pool

    import soundfile  # noqa: F401  # before the fork, as NeMo has it

    Path(out).mkdir()
    all_rows = rows(manifest)
    jobs = [(at // SHARD, all_rows[at : at + SHARD], out) for at in range(0, len(all_rows), SHARD)]
    with Pool(PROCESSES) as pool:
        pool.map(_nemo_shard, jobs, chunksize=1)


def read_nemo_tarred(out: str) -> Iterator[tuple[str, bytes]]:
    for manifest in sorted(Path(out).glob("manifest_*.json")):
        with tarfile.open(str(manifest).replace("manifest_", "audio_").replace(".json", ".tar")) as tar:
            for row in rows(str(manifest)):
                member = tar.extractfile(row["audio_filepath"])
                assert member is not None
                yield row["text"], _pcm(member.read())


def datasets_parquet(manifest: str, out: str) -> None:
    import datasets

    datasets.disable_progress_bars()

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        return {"audio": {"bytes": flac_of(row["audio_filepath"]), "path": Path(row["audio_filepath"]).name}}

    read = datasets.load_dataset("json", data_files=manifest, split="train", cache_dir=f"{out}.cache")
    written = read.map(encode, num_proc=PROCESSES, remove_columns=["audio_filepath"])
    written = written.cast_column("audio", datasets.Audio(decode=False))
    Path(out).mkdir()
    count = -(-len(written) // SHARD)
    for number in range(count):
        written.shard(count, number, contiguous=True).to_parquet(f"{out}/train-{number:05d}-of-{count:05d}.parquet")


def read_datasets_parquet(out: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    for path in sorted(Path(out).glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield row["text"], _pcm(row["audio"]["bytes"])


def _litdata_sample(row: dict[str, Any]) -> dict[str, Any]:
    return {"audio": flac_of(row["audio_filepath"]), "text": row["text"]}


def litdata_optimize(manifest: str, out: str) -> None:
    import litdata

    litdata.optimize(
        _litdata_sample, rows(manifest), out, num_workers=PROCESSES, chunk_size=SHARD, verbose=False,
    )  # fmt: skip


def read_litdata_optimize(out: str) -> Iterator[tuple[str, bytes]]:
    import litdata

    for row in litdata.StreamingDataset(out):
        yield row["text"], _pcm(row["audio"])


def _pcm(data: bytes) -> bytes:
    import soundfile

    samples: bytes = soundfile.read(io.BytesIO(data), dtype="int16")[0].tobytes()
    return samples


WRITE = {
    "lhotse Shar": lhotse_shar,
    "NeMo-style tars": nemo_tarred,
    "datasets Parquet": datasets_parquet,
    "LitData optimize": litdata_optimize,
}
READ = {
    "lhotse Shar": read_lhotse_shar,
    "NeMo-style tars": read_nemo_tarred,
    "datasets Parquet": read_datasets_parquet,
    "LitData optimize": read_litdata_optimize,
}


def digest_of(samples: Iterator[tuple[str, bytes]]) -> str:
    """The same for the same pairs of text and PCM, in any order."""
    total = 0
    for text, pcm in samples:
        total ^= int.from_bytes(hashlib.blake2b(text.encode() + b"\0" + pcm, digest_size=16).digest(), "big")
    return f"{total:032x}"


if __name__ == "__main__":
    tool, manifest_, out_ = sys.argv[1:4]
    if "--check" in sys.argv:
        print(digest_of(READ[tool](out_)))
    else:
        WRITE[tool](manifest_, out_)
