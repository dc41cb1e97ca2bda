"""Answers to many requests at once: a running batch that rows enter and leave between steps.

    requests.py    what is asked: a conversation and its sampling parameters; what comes back
    engine.py      the queue, the slots, the limits, cancellation; one thread decodes
    text.py        tokens to text while they come, and stop strings
    drafts.py      guesses of how an answer goes on
    sampling.py    from logits to the next token of one row
    backends/      what computes: BACKENDS, a module each

Each prompt is encoded and read at its own length. A row's tokens are those of ``generate`` of it alone.
"""
