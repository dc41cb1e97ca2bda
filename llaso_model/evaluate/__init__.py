"""Scores answers of speech-language models: metrics, intervals, abstention, a report. Importing it loads nothing."""
