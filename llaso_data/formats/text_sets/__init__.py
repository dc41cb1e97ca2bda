"""Rows of texts without audio: instructions, questions, translations, summaries, and the first turns of talks."""
