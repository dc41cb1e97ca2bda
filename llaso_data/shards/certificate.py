"""``certificate.json``: what people heard of a dataset, beside the manifest of what they heard; SPEC.md, section 6.

The audit writes it into build-align's output; ``shard`` puts a copy beside the shards that it makes of that output. It
counts only where it names the very dataset that it lies beside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.filters import acceptance
from llaso_data.filters.acceptance import CONFIDENCE, GOOD
from llaso_data.io import checksums, outputs, storage
from llaso_data.shards import layout, schemas

DECIMALS = 6
"""Rates in the file are rounded to so many; whether a set passes is decided before."""

UNHEARD = "no audit of it was finished"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a dataset: ``certified``, or not and ``why``; the certificate where one names this dataset.

    A certificate may say that the dataset failed: then it is there, and ``certified`` is false.
    """

    certified: bool
    why: str
    certificate: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{'certified' if self.certified else 'uncertified'}: {self.why}"


def of_records(align: str, verdicts: str) -> Standing:
    """The standing of build-align's output, whose manifest names these verdicts."""
    return _standing(align, lambda said: said["dataset"]["verdicts"] == verdicts and said["dataset"]["shards"] is None)


def of_shards(uri: str, manifest: Mapping[str, Any]) -> Standing:
    """The standing of a set of shards with this manifest."""
    return _standing(uri, lambda said: said["dataset"]["shards"] == manifest["digest"])


def carry(align: str, out: str, manifest: Mapping[str, Any]) -> Standing:
    """Puts the certificate of build-align's output beside the shards that were made of it, or takes an old one away."""
    known = of_records(align, (manifest["source"] or {}).get("verdicts", ""))
    place = storage.join(out, layout.CERTIFICATE)
    if known.certificate is None:
        remove(place)
    else:
        dataset = {**known.certificate["dataset"], "shards": manifest["digest"]}
        checksums.write_json(place, {**known.certificate, "dataset": dataset})
    return known


def remove(place: str) -> None:
    """Take a certificate away, if one lies there; nothing else is touched."""
    if is_certificate(place):
        fs, path = storage.filesystem(place)
        with storage.writing(place):
            fs.rm_file(path)


def refuse(folder: str, by: str) -> None:
    """Refuses where a certificate may come to lie in the folder, and something else does. Raises LLaSOError."""
    outputs.refuse(storage.join(folder, layout.CERTIFICATE), by, is_certificate)


is_certificate = outputs.json_of(layout.CERTIFICATE_FORMAT)
"""Whether a file is a certificate, of whatever dataset."""


def faults(said: Any) -> list[str]:
    """What is wrong with a certificate: against the schema, or numbers that do not follow from its own answers."""
    import jsonschema

    found = [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(schemas.CERTIFICATE).iter_errors(said)
    ]
    if found:
        return found
    wrong = next((name for name, follows in _FOLLOWS.items() if not follows(said)), None)
    return [] if wrong is None else [f"$.{wrong}: does not follow from the rest"]


def upper(said: Mapping[str, Any]) -> str:
    """The bound of a certificate or of one of its strata as it is read, with two decimals.

    It is rounded up, so that no more is claimed than is known; a dash where nothing was heard.
    """
    if said["items"] == said["population"]:
        return f"{100 * said['rate']:.2f} %"
    return f"{math.ceil(round(said['upper'] * 1e4, 6)) / 100:.2f} %" if said["items"] else "–"


def conclusion(said: Mapping[str, Any]) -> str:
    """A certificate's numbers in one sentence, and where they do not pass, what would have."""
    defects = f"{said['defects']} {'defect' if said['defects'] == 1 else 'defects'}"
    if said["items"] == said["population"]:
        found = f"{defects} in {said['items']:,}, which is everything: error rate {upper(said)}"
    else:
        heard = f"{defects} in {said['items']:,} of {said['population']:,}"
        found = f"{heard}: error rate below {upper(said)} with {100 * CONFIDENCE:g} % confidence"
    return found if said["passed"] else f"{found}; {_missed(said)}"


def _standing(folder: str, fits: Callable[[Mapping[str, Any]], bool]) -> Standing:
    said = _read(storage.join(folder, layout.CERTIFICATE))
    if said is None:
        return Standing(False, UNHEARD)
    if faults(said):
        return Standing(False, f"its {layout.CERTIFICATE} is damaged or not of this version")
    if not fits(said):
        return Standing(False, f"its {layout.CERTIFICATE} is of another dataset")
    return Standing(said["passed"], conclusion(said), said)


def _missed(said: Mapping[str, Any]) -> str:
    allowed = said["plan"]["allowed"]
    if allowed is None:
        return "so few prove nothing, whatever they are like"
    return f"at most {allowed} would pass" if allowed else "only a sample without a defect would pass"


def _read(place: str) -> Any:
    """What lies there, None where nothing does; what is damaged or no JSON comes as the empty string."""
    try:
        return checksums.read_json(place)
    except FileNotFoundError:
        return None
    except (ValueError, checksums.DamagedError):
        return ""


def _is_finding(said: Mapping[str, Any]) -> bool:
    if not said["defects"] <= said["items"] <= said["population"]:
        return False
    found = acceptance.find(said["population"], said["items"], said["defects"])
    close = all(abs(said[name] - getattr(found, name)) < 2 * 10**-DECIMALS for name in ("rate", "upper"))
    return close and bool(said["passed"] == found.passed)


def _sums(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


_FOLLOWS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "items": _is_finding,
    "plan": lambda said: said["plan"]["allowed"] == acceptance.allowed(said["population"], said["items"]),
    "sample": lambda said: (
        said["items"] == said["plan"]["items"] == len({row["id"] for row in said["sample"]}) == len(said["sample"])
    ),
    "answers": lambda said: (
        dict(Counter(row["answer"] for row in said["sample"])) == {k: n for k, n in said["answers"].items() if n}
    ),
    "defects": lambda said: said["defects"] == said["items"] - said["answers"][GOOD],
    "strata": lambda said: (
        all(map(_is_finding, said["strata"]))
        and all(_sums(said["strata"], name) == said[name] for name in ("population", "items", "defects"))
    ),
}
"""Parts of a certificate, and whether they follow from the others; each may rely on those before it."""
