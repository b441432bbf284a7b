"""Rules in CEL, the language in which the API server checks an object before it stores it.

A rule here says what the pydantic models say in Python, in the same words, so that `kubectl apply` and
`synthray train` refuse the same file with the same sentence. Which rules there are stands in `crd_rules`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Rule:
    """What must hold of an object at one place in the schema, and what to say if it doesn't.

    `condition` is CEL over `self` (and `oldSelf`: then it speaks of changes alone). `message` may name values
    as `{name}`; `values` gives the CEL of each. `shown_at` is the field that the complaint
    is shown at, relative to the place, such as `.replicas`. `given` names values that condition and values
    use, so that each is written once; a later one may use those before it.
    """

    condition: str
    message: str
    values: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    shown_at: str = ""
    reason: str = "FieldValueInvalid"

    def as_schema(self) -> dict[str, Any]:
        """The rule as an entry of x-kubernetes-validations."""
        condition, text = self.condition, fill_in(self.message, self.values)
        for name, value in reversed(list(self.given.items())):
            condition = f"[{value}].all({name}, {condition})"
            text = f"[{value}].map({name}, {text})[0]"
        entry = {"rule": condition}
        if self.values:
            entry["messageExpression"] = text
        # Shown where the expression can't be: by tools that read the schema without evaluating it.
        entry["message"] = _PLACEHOLDER.sub("...", self.message)
        entry["reason"] = self.reason
        if self.shown_at:
            entry["fieldPath"] = self.shown_at
        return entry


def fill_in(template: str, values: Mapping[str, str]) -> str:
    """CEL for the text of a template, each `{name}` replaced by the value of its expression.

    By `format`, since the API server can't bound the length of a text that is put together with `+` from
    numbers, and refuses a rule without a bound.
    """
    parts = _PLACEHOLDER.split(template)
    form = "%s".join(part.replace("%", "%%") for part in parts[::2])
    return f"{quote(form)}.format([{', '.join(values[name] for name in parts[1::2])}])"


def quote(text: str) -> str:
    """A text as CEL writes it."""
    return json.dumps(text, ensure_ascii=False)


def write_constant(value: object) -> str:
    """A constant as CEL writes it: texts, numbers, lists and mappings of them."""
    if isinstance(value, Mapping):
        entries = (f"{write_constant(key)}: {write_constant(one)}" for key, one in value.items())
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write_constant, value))}]"
    return json.dumps(value, ensure_ascii=False)
