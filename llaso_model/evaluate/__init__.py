"""Scores answers of speech-language models: metrics, intervals, abstention, and a report. Importing it loads nothing."""
