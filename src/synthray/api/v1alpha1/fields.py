"""The kinds of fields that the objects are made of: text forms, quantities, and the base of every model.

Bounds, defaults and descriptions stand on the field, because the CRD's schema, `kubectl explain`, the
reference pages and the messages of the command line are all derived from them.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

_ACRONYMS = {"Url": "URL", "Snr": "SNR"}

# JSON numbers above this lose digits in JavaScript and in jq.
SEED_MAX = 2**53 - 1


@dataclass(frozen=True)
class Remedy:
    """What to write instead, shown after a complaint about the field that carries it.

    After any complaint, or only after one about a value below or above the field's bounds.
    """

    text: str
    when: Literal["any", "below", "above"] = "any"


def yaml_name(python_name: str) -> str:
    """`max_replicas` -> `maxReplicas`, `endpoint_url` -> `endpointURL`."""
    first, *rest = python_name.split("_")
    capitals = (word.capitalize() for word in rest)
    return first + "".join(_ACRONYMS.get(word, word) for word in capitals)


class ApiModel(BaseModel):
    """A part of an object: camelCase in YAML, snake_case in Python, frozen, no unknown fields, no coercion.

    Without coercion `epochs: "220"` is refused here as Kubernetes refuses it.
    """

    model_config = ConfigDict(
        alias_generator=yaml_name,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )


class StatusModel(ApiModel):
    """A part of a status: unknown fields are ignored, since a newer operator may have written it."""

    model_config = ConfigDict(extra="ignore")


def _without_trailing_slash(uri: str) -> str:
    return uri.rstrip("/") or "/"


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# `cpu: 4` and `checkpoint: 12` may be written without quotes, as Kubernetes' IntOrString.
_IntOrString = BeforeValidator(_number_as_text, json_schema_input_type=int | str)


def _int_or_string(pattern: str) -> FieldInfo:
    """The pattern for the text, in the schema too, where pydantic leaves it out beside two types."""
    schema: JsonDict = {"x-kubernetes-int-or-string": True, "pattern": pattern}
    field: FieldInfo = Field(min_length=1, max_length=24, pattern=pattern, json_schema_extra=schema)
    return field


_S3_URI = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/=+@:,-]*)?"
_ABSOLUTE_PATH = r"/[^\x00-\x1f\x7f]*"

StorageUri = Annotated[
    str,
    Field(max_length=1024, pattern=f"^({_S3_URI}|{_ABSOLUTE_PATH})$"),
    AfterValidator(_without_trailing_slash),
    Remedy("use s3://bucket/prefix or a local path"),
]
OptionalStorageUri = Annotated[
    str,
    Field(max_length=1024, pattern=f"^({_S3_URI}|{_ABSOLUTE_PATH})?$"),
    AfterValidator(lambda uri: _without_trailing_slash(uri) if uri else uri),
    Remedy('use s3://bucket/prefix, a local path, or "" for none'),
]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=40, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$"),
    Remedy(
        "use at most 40 lower-case letters, digits and hyphens, beginning with a letter and not ending "
        "with a hyphen"
    ),
]
OptionalObjectName = Annotated[
    str,
    Field(max_length=40, pattern=r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$"),
    Remedy('use the name of an object in the same namespace, or "" for none'),
]
OptionalResourceName = Annotated[
    str,
    Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"),
    Remedy('use the name of an object in the same namespace, or "" for none'),
]
OptionalImage = Annotated[
    str,
    Field(max_length=512, pattern=r"^([a-z0-9][A-Za-z0-9._:/@-]*)?$"),
    Remedy('use an image reference such as registry.example/synthray:0.1.0, or "" for the chart\'s image'),
]
OptionalEndpointUrl = Annotated[
    str,
    Field(max_length=512, pattern=r"^(https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?)?$"),
    Remedy('use http://host:port or https://host:port, or "" for AWS'),
]
LabelValue = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"),
    Remedy("use the value of the node label nvidia.com/gpu.product, for example Quadro-RTX-6000"),
]
Quantity = Annotated[
    str,
    _IntOrString,
    _int_or_string(r"^[0-9]{1,15}(\.[0-9]{1,6})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"),
    Remedy("use a Kubernetes quantity such as 4, 500m or 16Gi"),
]
CheckpointChoice = Annotated[
    str,
    _IntOrString,
    _int_or_string(r"^(latest|best|[1-9][0-9]{0,6})$"),
    Remedy("use latest, best or the number of an epoch"),
]
# Put on a tuple: YAML brings lists, which strictness would refuse.
FromList = Strict(strict=False)
