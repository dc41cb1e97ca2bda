"""The licence that a repository's card states."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import hub_files, yaml_text
from llaso_data.io.hub_files import HubTree
from llaso_data.io.hub_requests import Traffic

_CARD = "README.md"
_LONGEST_BYTES = 1 << 22  # a card beyond it is none


def stated(tree: HubTree, traffic: Traffic) -> str | None:
    """What the card says of the licence; None where there is no card, or it says nothing that can be read.

    Raises:
        StoreError: where the hub fails.
    """
    card = next((file for file in tree.files if file.path == _CARD and file.size_bytes <= _LONGEST_BYTES), None)
    if card is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, _CARD)
        try:
            hub_files.fetch(tree, card, path, traffic)
        except hub_files.WrongSumError:
            return "not known, its card arrives damaged"
        with open(path, encoding="utf-8", errors="replace") as file:
            return in_card(file.read())


def in_card(text: str) -> str | None:
    """The field ``license`` of a card's YAML, a name or several; with ``license_name`` where that says more."""
    start, *lines = text.replace("\r\n", "\n").split("\n")
    if start.strip() != "---" or "---" not in lines:
        return None
    try:
        fields: Any = yaml_text.plain(yaml_text.parse(_CARD, "\n".join(lines[: lines.index("---")]), "card"))
    except LLaSOError:
        return None
    if not isinstance(fields, dict) or not fields.get("license"):
        return None
    names = fields["license"] if isinstance(fields["license"], list) else [fields["license"]]
    said = ", ".join(map(str, names))
    return f"{said} ({fields['license_name']})" if fields.get("license_name") else said


def is_non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, by its name."""
    return "nc" in licence.lower().replace("_", "-").replace("(", "-").replace(")", "-").split("-")
