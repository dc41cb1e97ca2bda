"""The values that records use for what corpora say of speakers and recordings, and functions from any spelling to them.

``docs/sources.md`` lists the values.
"""

from __future__ import annotations

import re
import unicodedata

from llaso_data.records import UNKNOWN

GENDERS = ("male", "female", "other", UNKNOWN)
AGE_RANGES = ("0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80-89", "90-99", "100+", UNKNOWN)
ENVIRONMENTS = ("studio", "quiet", "indoor", "outdoor", "vehicle", "telephone", "broadcast", "noisy", UNKNOWN)

_SAYS_NOTHING = frozenset(
    {"", "unknown", "unk", "none", "null", "nan", "na", "n-a", "not-available", "unspecified", "undefined"}
    | {"not-specified", "do-not-wish-to-say", "prefer-not-to-say", "prefer-not-to-answer", "undisclosed"}
)

_GENDER = {
    "male": {"m", "male", "man", "boy", "masculine", "male-masculine", "mann", "homme", "hombre", "masculino"},
    "female": {
        "f",
        "w",
        "female",
        "woman",
        "girl",
        "feminine",
        "female-feminine",
        "frau",
        "femme",
        "mujer",
        "femenino",
    },
    "other": {
        "o",
        "x",
        "other",
        "non-binary",
        "nonbinary",
        "diverse",
        "intersex",
        "transgender",
        "intersex-transgender",
    },
}
_DECADES = {
    "teens": 10,
    "teenager": 10,
    "twenties": 20,
    "thirties": 30,
    "forties": 40,
    "fourties": 40,  # Common Voice's spelling
    "fifties": 50,
    "sixties": 60,
    "seventies": 70,
    "eighties": 80,
    "nineties": 90,
}
_ENVIRONMENT = {
    "studio": {"studio", "recording-studio", "booth", "anechoic", "sound-booth"},
    "quiet": {"quiet", "clean", "silent", "quiet-room", "quiet-office"},
    "indoor": {"indoor", "indoors", "inside", "room", "home", "house", "office", "classroom", "meeting", "meeting-room"}
    | {"kitchen", "living-room", "lecture-hall"},
    "outdoor": {"outdoor", "outdoors", "outside", "street", "park", "field"},
    "vehicle": {"vehicle", "car", "in-car", "bus", "train", "metro", "plane"},
    "telephone": {
        "telephone",
        "phone",
        "phone-call",
        "telephony",
        "landline",
        "mobile-call",
        "call-center",
        "call-centre",
    },
    "broadcast": {"broadcast", "radio", "tv", "television", "podcast", "news", "youtube"},
    "noisy": {"noisy", "noise", "noisy-room", "crowd", "babble", "cafe", "restaurant", "factory", "station"},
}
_ACCENT = {
    "united-states": {"us", "usa", "american", "american-english", "us-english", "united-states-english", "en-us"},
    "england": {"british", "british-english", "england-english", "uk", "uk-english", "en-gb"},
    "australia": {"australian", "australian-english", "en-au"},
    "canada": {"canadian", "canadian-english", "en-ca"},
    "india": {"indian", "indian-english", "india-and-south-asia-india-pakistan-sri-lanka", "en-in"},
    "scotland": {"scottish", "scottish-english"},
    "ireland": {"irish", "irish-english", "en-ie"},
    "new-zealand": {"newzealand", "new-zealand-english", "en-nz"},
    "wales": {"welsh", "welsh-english"},
    "northern-irish": {"northernirish"},  # VCTK's spelling, and of the next
    "south-african": {"southafrican"},
}


def says_nothing(value: str) -> bool:
    """Whether a value of an attribute or label stands for none: ``unknown``, ``nan``, ``N/A``."""
    return slug(value) in _SAYS_NOTHING


def _by_alias(table: dict[str, set[str]]) -> dict[str, str]:
    return {alias: value for value, aliases in table.items() for alias in aliases | {value}}


_GENDER_OF, _ENVIRONMENT_OF, _ACCENT_OF = _by_alias(_GENDER), _by_alias(_ENVIRONMENT), _by_alias(_ACCENT)


def slug(value: str) -> str:
    """The value in lower case, with one hyphen for whatever is no letter or digit of any script.

    The slug of a slug is itself.
    """
    lower = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())
    # Combining marks belong to the letters of Indic scripts.
    kept = "".join(c if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in lower)
    return "-".join(kept.split())


def gender(value: str) -> str:
    """The gender as one of :data:`GENDERS`; ``unknown`` for what is not understood."""
    return _GENDER_OF.get(slug(value), UNKNOWN)


def age_range(value: str) -> str:
    """The age as one of :data:`AGE_RANGES`.

    Years ("34"), decades ("twenties", "20s") and ranges inside one decade are understood. A range over two decades
    ("18-25") is ``unknown``: either half would be an invention.
    """
    name = slug(value)
    if name in _DECADES:
        return _decade(_DECADES[name])
    if name in ("100", "100s", "100-plus") or value.strip() == "100+":
        return "100+"
    years = re.fullmatch(r"\s*(\d{1,3})(?:\.\d+)?\s*(?:years?(?: old)?|y|yo)?\s*", value.casefold())
    if years:
        return _decade(int(years[1]))
    decade = re.fullmatch(r"\s*(\d0)'?s\s*", value.casefold())
    if decade:
        return _decade(int(decade[1]))
    ages = re.fullmatch(r"\s*(\d{1,3})\s*(?:-|–|to)\s*(\d{1,3})\s*", value.casefold())
    if ages and _decade(int(ages[1])) == _decade(int(ages[2])):
        return _decade(int(ages[1]))
    return UNKNOWN


def _decade(years: int) -> str:
    if years > 130:
        return UNKNOWN
    start = years // 10 * 10
    return "100+" if start >= 100 else f"{start}-{start + 9}"


def accent(value: str) -> str:
    """The accent as a slug; ``unknown`` where the value says nothing.

    The common names of each of the larger English accents give the same slug.
    """
    name = slug(value)
    return UNKNOWN if name in _SAYS_NOTHING else _ACCENT_OF.get(name, name)


def environment(value: str) -> str:
    """The environment as one of :data:`ENVIRONMENTS`, or the slug of what is none of them."""
    name = slug(value)
    return UNKNOWN if name in _SAYS_NOTHING else _ENVIRONMENT_OF.get(name, name)
