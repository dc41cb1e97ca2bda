"""``llaso-model generate``: a model's answers to recordings, with the times of what is said.

sources.py      files, folders, corpora and shards as what is asked
transcripts.py  recordings cut at pauses, asked piece by piece, and put together again
words.py        word times by Whisper and ``llaso_data.align``
subtitles.py    SubRip and WebVTT
"""
