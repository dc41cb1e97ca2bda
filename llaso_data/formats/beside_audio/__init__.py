"""Files beside audio: transcripts that are read, and what looks like transcripts and is not read."""
