"""``certificate.json``: the result of a dataset's audit, beside the dataset's manifest; SPEC.md, section 6.

The audit writes it into build-align's output. ``shard`` copies it beside the shards that it makes of that output. A
certificate counts only where it names the dataset that it lies beside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.filters import acceptance
from llaso_data.filters.acceptance import CONFIDENCE, GOOD
from llaso_data.filters.rates import Rate
from llaso_data.io import checksums, outputs, storage
from llaso_data.shards import layout, schemas

DECIMALS = 6
"""Rates in the file are rounded to so many. Whether a dataset passes is decided from the unrounded rate."""

UNHEARD = "no audit of it was finished"


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a dataset is certified.

    Attributes:
        certified: A certificate names this dataset, and the dataset passed its audit.
        why: The audit's conclusion, or why there is none.
        certificate: The certificate that names this dataset, also where the dataset did not pass; else None.
    """

    certified: bool
    why: str
    certificate: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{'certified' if self.certified else 'uncertified'}: {self.why}"


def of_records(align: str, verdicts: str) -> Standing:
    """The standing of build-align's output, whose manifest names these verdicts."""
    return _standing(align, lambda dataset: dataset["verdicts"] == verdicts and dataset["shards"] is None)


def of_shards(uri: str, manifest: Mapping[str, Any]) -> Standing:
    """The standing of a set of shards with this manifest."""
    return _standing(uri, lambda dataset: dataset["shards"] == manifest["digest"])


def carry(align: str, out: str, manifest: Mapping[str, Any]) -> Standing:
    """Copies the certificate of build-align's output beside its shards; without one, removes an old copy there.

    Args:
        align: Folder or URI of build-align's output.
        out: Folder or URI of the shards.
        manifest: The shards' manifest.

    Returns:
        The standing of build-align's output.
    """
    standing = of_records(align, (manifest["source"] or {}).get("verdicts", ""))
    uri = storage.join(out, layout.CERTIFICATE)
    if standing.certificate is None:
        remove(uri)
    else:
        dataset = {**standing.certificate["dataset"], "shards": manifest["digest"]}
        checksums.write_json(uri, {**standing.certificate, "dataset": dataset})
    return standing


def remove(uri: str) -> None:
    """Removes a certificate; another file of that name stays."""
    if is_certificate(uri):
        fs, path = storage.filesystem(uri)
        with storage.writing(uri):
            fs.rm_file(path)


def refuse(folder: str, by: str) -> None:
    """Raises LLaSOError where another file has the certificate's name in a folder; ``by`` names the command."""
    outputs.refuse(storage.join(folder, layout.CERTIFICATE), by, is_certificate)


is_certificate = outputs.json_of(layout.CERTIFICATE_FORMAT)
"""Whether a file is a certificate, of any dataset."""


def faults(document: Any) -> list[str]:
    """The faults of a certificate: violations of the schema, else the first number that contradicts the others.

    Args:
        document: The parsed JSON.

    Returns:
        One line per fault, each with its JSON path; empty where there is none.
    """
    import jsonschema

    schema_faults = [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(schemas.CERTIFICATE).iter_errors(document)
    ]
    if schema_faults:
        return schema_faults
    contradicted = next((name for name, follows in _CONSISTENCY_CHECKS.items() if not follows(document)), None)
    return [] if contradicted is None else [f"$.{contradicted}: does not follow from the rest"]


def upper(certificate: Mapping[str, Any]) -> str:
    """The error bound of a certificate or of one of its strata, in percent with two decimals.

    It is rounded up, so that it never claims a lower error rate than was shown. A dash where no item was audited.
    """
    if certificate["items"] == certificate["population"]:
        return f"{100 * certificate['rate']:.2f} %"
    return f"{math.ceil(round(certificate['upper'] * 1e4, 6)) / 100:.2f} %" if certificate["items"] else "–"


def conclusion(certificate: Mapping[str, Any]) -> str:
    """A certificate's numbers in one sentence; where the dataset did not pass, also what would have passed."""
    defects = f"{certificate['defects']} {'defect' if certificate['defects'] == 1 else 'defects'}"
    if certificate["items"] == certificate["population"]:
        result = f"{defects} in {certificate['items']:,}, which is everything: error rate {upper(certificate)}"
    else:
        sample = f"{defects} in {certificate['items']:,} of {certificate['population']:,}"
        result = f"{sample}: error rate below {upper(certificate)} with {100 * CONFIDENCE:g} % confidence"
    return result if certificate["passed"] else f"{result}; {_pass_condition(certificate)}"


def _standing(folder: str, fits: Callable[[Mapping[str, Any]], bool]) -> Standing:
    certificate = _read(storage.join(folder, layout.CERTIFICATE))
    if certificate is None:
        return Standing(False, UNHEARD)
    if faults(certificate):
        return Standing(False, f"its {layout.CERTIFICATE} is damaged or not of this version")
    if not fits(certificate["dataset"]):
        return Standing(False, f"its {layout.CERTIFICATE} is of another dataset")
    return Standing(certificate["passed"], conclusion(certificate), certificate)


def _pass_condition(certificate: Mapping[str, Any]) -> str:
    allowed = certificate["plan"]["allowed"]
    if allowed is None:
        return "so few prove nothing, whatever they are like"
    return f"at most {allowed} would pass" if allowed else "only a sample without a defect would pass"


def _read(uri: str) -> Any:
    """The JSON of a file; None where there is no file, the empty string where it is damaged or no JSON."""
    try:
        return checksums.read_json(uri)
    except FileNotFoundError:
        return None
    except (ValueError, checksums.DamagedError):
        return ""


def _is_consistent_finding(finding: Mapping[str, Any]) -> bool:
    if not finding["defects"] <= finding["items"] <= finding["population"]:
        return False
    expected = acceptance.find(finding["population"], finding["items"], finding["defects"])
    close = all(abs(finding[name] - getattr(expected, name)) < 2 * 10**-DECIMALS for name in ("rate", "upper"))
    return close and bool(finding["passed"] == expected.passed)


def _is_consistent_rates(said: Mapping[str, Any]) -> bool:
    """Whether shares and intervals follow from counts, and the groups add up to the whole."""
    rates = [said, *said["groups"], *said["recall"].values()]
    if not all(Rate(one["rejected"], one["pairs"]).to_dict().items() <= one.items() for one in map(dict, rates)):
        return False
    return all(_total(said["groups"], name) == said[name] for name in ("rejected", "pairs"))


def _total(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


_CONSISTENCY_CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "items": _is_consistent_finding,
    "plan": lambda c: c["plan"]["allowed"] == acceptance.allowed(c["population"], c["items"]),
    "sample": lambda c: c["items"] == c["plan"]["items"] == len({row["id"] for row in c["sample"]}) == len(c["sample"]),
    "answers": lambda c: (
        dict(Counter(row["answer"] for row in c["sample"])) == {k: n for k, n in c["answers"].items() if n}
    ),
    "defects": lambda c: c["defects"] == c["items"] - c["answers"][GOOD],
    "strata": lambda c: (
        all(map(_is_consistent_finding, c["strata"]))
        and all(_total(c["strata"], name) == c[name] for name in ("population", "items", "defects"))
    ),
    "false_alarms": lambda c: c.get("false_alarms") is None or _is_consistent_rates(c["false_alarms"]),
    "uncalibrated": lambda c: (
        c["format_version"] == 1 or (c["false_alarms"] is None) == (c["uncalibrated"] is not None)
    ),
}
"""Parts of a certificate c → whether they follow from the others. Each check may rely on those before it."""
