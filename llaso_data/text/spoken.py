"""The words of a text that are spoken."""

from __future__ import annotations

from llaso_data.text import normalize, word_spans

_CLOSING = "!?;:.,…»)]”"  # may stand apart from the word that it closes, as in French


def spoken_words(text: str, language: str) -> tuple[list[tuple[int, int]], list[str]]:
    """The words that are spoken; closing punctuation that stands apart is part of the word before it.

    Args:
        text: A text as somebody wrote it.
        language: Its code.

    Returns:
        ``(start, end)`` of each word in characters, and its normalised form.
    """
    spans: list[tuple[int, int]] = []
    forms: list[str] = []
    for a, b in word_spans(text, language):
        form = normalize(text[a:b], language)
        if form:
            spans.append((a, b))
            forms.append(form)
        elif spans and all(character in _CLOSING for character in text[a:b]):
            spans[-1] = (spans[-1][0], b)
    return spans, forms
