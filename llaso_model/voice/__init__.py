"""Answers aloud: a model's text is spoken sentence by sentence by an engine of ``VOICES``.

sentences.py  a text that comes piece by piece, in sentences that a voice can speak
speaking.py   which voice speaks a name, and at which speed
encoding.py   speech as mp3, wav, opus, flac, aac or pcm while it comes
answers.py    generate_speech: a model's answer, spoken while it is generated
commands.py   llaso-model speak
"""
