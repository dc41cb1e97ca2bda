"""Sounds of strangers: read through the limited process by every command that reads them, and never without end."""

from __future__ import annotations

import base64
import io
import json
import resource
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import AudioError
from llaso_data.recipe import Decode
from llaso_data.shards.foreign_scan import scan
from llaso_data.stream.fetch import BadSample
from llaso_model.evaluate import conditions
from llaso_model.evaluate.datasets.eval_samples import EvalSample
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.datasets.open_samples import open_samples
from llaso_model.evaluate.report import scores_page as report
from llaso_model.evaluate.report import worst_examples
from tests.conftest import Clip
from tests.llaso_model.evaluate.report.test_scores_page import scored
from tests.support.evaluation import TASKS


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hours of silence in 0.2 MB; as floats at 16 kHz they take 2.3 GB."""
    path = tmp_path_factory.mktemp("endless") / "endless.flac"
    with soundfile.SoundFile(path, "w", 1_000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(10):
            file.write(np.zeros(3600 * 1_000, np.int16))
    assert path.stat().st_size < 300_000
    return path


def test_it_is_the_same_sound(clips: list[Clip], endless: Path) -> None:
    for clip in clips[:3]:
        pcm, probed = audio.decode(str(clip.path))
        assert np.array_equal(limited.decode(str(clip.path))[0], pcm)
        assert limited.probe(str(clip.path)) == audio.probe(str(clip.path))
        assert np.array_equal(limited.decode(str(clip.path), None, 0.25, 0.75)[0], pcm[4000:12000])
        for format_ in ("flac", "wav"):
            data = audio.encode(pcm, format_)  # type: ignore[arg-type]
            assert np.array_equal(limited.decode_bytes(data, "s3://never/asked"), pcm)
            stated = limited.probe("s3://never/asked", data=data)
            assert stated.duration_s == pytest.approx(probed.duration_s)
    assert limited.probe(str(endless)).duration_s == 36_000
    assert (
        Decode().stall_s,
        Decode().memory_mb,
        Decode().max_duration_s,
    ) == (limited.STALL_S, limited.MEMORY_MB, limited.MAX_DURATION_S)
    with pytest.raises(AudioError, match="some name"):
        limited.decode_bytes(b"RIFF" + bytes(60), "some name")
    with pytest.raises(AudioError, match="longer than 5 s"):
        limited.decode_bytes(audio.encode(np.zeros(96_000, np.int16), "flac"), "x", 5.0)


@pytest.mark.slow
def test_what_is_longer_than_six_hours_is_named_and_not_asked(endless: Path, tmp_path: Path, clips: list[Clip]) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, path in (("endless", endless), ("clip", clips[0].path)):
        (tmp_path / f"{name}{path.suffix}").write_bytes(path.read_bytes())
        (tmp_path / f"{name}.txt").write_text("Hello.")
    asked = open_samples(str(tmp_path), TASKS, language="en")
    heard = asked.read(range(len(asked)))
    (bad,) = [one for one in heard if isinstance(one, BadSample)]
    assert "endless.flac: longer than 21600 s" in bad.reason
    assert sum(isinstance(one, EvalSample) for one in heard) == 1
    with pytest.raises(AudioError, match="longer than 21600 s"):
        conditions.load_noise(str(endless))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < 1_000_000  # six hours of 16-bit samples are 691 MB


def test_of_ten_hours_no_more_is_decoded_than_is_shown(endless: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(endless, "a.flac")
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"Hello"))
    assert scan(str(tmp_path / "shard.tar"))[0]["duration_s"].to_pylist() == [36_000.0]
    for name, seconds in (("short.wav", 1), ("long.wav", 31)):
        (tmp_path / name).write_bytes(audio.encode(np.zeros(seconds * 16_000, np.int16), "wav"))
    for name, seconds in (("short.wav", 1), ("long.wav", 30), ("shard.tar!a.flac", 30)):
        row = Prediction("s", "ASR", "a", "", "Hello", "Bye", "row 1", audio=(name,))
        opus = worst_examples._opus(str(tmp_path), row)
        assert opus is not None
        assert len(audio.decode_bytes(base64.b64decode(opus))) == seconds * 16_000


def test_the_report_carries_the_sound_of_a_short_clip(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "x.wav").write_bytes(audio.encode(np.zeros(16_000, np.int16), "wav"))
    row = {"system": "s", "set": "ASR", "id": "a", "reference": "Hello.", "answer": "Bye.", "audio": "x.wav"}
    folder = scored(tmp_path, s=[row])
    page = Path(report.report([str(folder)], audio_root=str(tmp_path / "audio"))[0]).read_text(encoding="utf-8")
    assert json.loads(page.split('id="sounds">')[1].split("</script>")[0]).keys() == {"x.wav"}
