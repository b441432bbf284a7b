"""Takes out of documents and logs what may be a secret. Pure.

Rather too much than too little: what is removed is marked, and whoever has the cluster can look it up.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

REMOVED: Final = "(removed)"

_WORDS: Final = (
    r"(?:secret|token|passw(?:or)?d|credential|access[-_]?key|api[-_]?key|authorization|signature)"
)
_SECRET_NAME: Final = re.compile(_WORDS, re.IGNORECASE)
# Fields that name an object or a place, and do not hold what is in it.
_REFERENCE: Final = re.compile(r"(?:names?|directory|path|ur[il]|ref|reason|type|kind|mode)$", re.IGNORECASE)
# Keys of AWS, JSON web tokens, bearer tokens and an address's user:password@, by their form.
_SECRET_FORMS: Final = (
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w.-]+"),
    re.compile(r"(?<=bearer )\S+", re.IGNORECASE),
    re.compile(r"(?<=basic )[A-Za-z0-9+/=]{8,}", re.IGNORECASE),
    re.compile(r"(?<=://)[^\s@]+(?=@)"),
)
# name=value, name: value, "name": "value", also escaped and in an address's query. A name is looked for from
# its beginning alone: from each of its letters it would take seconds for a long word.
_NAMED_SECRET: Final = re.compile(
    rf"(?<![\w.-])(?P<name>[\w.-]*{_WORDS}[\w-]*)"
    r"(?P<between>\\*[\"']?\s*[=:]\s*)"
    r"(?P<value>\\*\"[^\"]*\"|\\*'[^']*'|[^\s,;&\"'}\])]+)",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """The text without what looks like a secret, line by line as it was."""
    for form in _SECRET_FORMS:
        text = form.sub(REMOVED, text)
    return _NAMED_SECRET.sub(_without_value, text)


def redact_document(value: Any) -> Any:
    """A document of the API server without what looks like a secret, and without managedFields."""
    if isinstance(value, Mapping):
        if {"name", "value"} <= value.keys() and _names_secret(str(value["name"])):
            return {**value, "value": REMOVED}
        return {key: _redact_field(str(key), item) for key, item in value.items() if key != "managedFields"}
    if isinstance(value, list):
        return [redact_document(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _redact_field(name: str, value: Any) -> Any:
    if not _names_secret(name) or isinstance(value, Mapping | bool) or value is None:
        return redact_document(value)
    if isinstance(value, list):
        return [redact_document(item) if isinstance(item, Mapping) else REMOVED for item in value]
    return REMOVED


def _names_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _REFERENCE.search(name)


def _without_value(found: re.Match[str]) -> str:
    if _REFERENCE.search(found["name"]):
        return found[0]
    return f"{found['name']}{found['between']}{REMOVED}"
