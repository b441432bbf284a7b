"""A YAML file as plain values, read as Kubernetes reads it.

PyYAML by itself takes `1e-4` for text and `2026-01-01` for a date, and keeps the last of two equal keys in
silence; here the first is a number, the second text, and the third an error that names its line.
"""

import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from synthray.errors import InvalidInput, NotFound

MAX_FILE_BYTES: Final = 1024 * 1024
_LINE_CHARACTERS: Final = 110

_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$", re.IGNORECASE
)
_TIMESTAMP_TAG: Final = "tag:yaml.org,2002:timestamp"
_FLOAT_TAG: Final = "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of YAML 1.2, without dates, and without duplicate keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 PyYAML's own form of a class attribute
        first: [pair for pair in pairs if pair[0] not in {_TIMESTAMP_TAG, _FLOAT_TAG}]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                first = seen[key.value].start_mark.line + 1
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands here and on line {first}", key.start_mark
                )
            seen[key.value] = key
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+.0123456789"))


def read_yaml_file(path: Path) -> list[Any]:
    """The documents of a file, without empty ones.

    Raises NotFound if there is no such file, InvalidInput if it can't be read as YAML.
    """
    if not path.exists():
        raise NotFound(f"{path} does not exist")
    try:
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInput(f"{path} is larger than {MAX_FILE_BYTES} bytes; it is no description of a run")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}); give a YAML file") from error
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> list[Any]:
    """The documents of a text, without empty ones; `source` begins the messages."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"{source}{line}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise InvalidInput(f"{source} holds a character that YAML does not allow") from error
    except (RecursionError, ValueError) as error:
        raise InvalidInput(f"{source} is no YAML that synthray can read: {error}") from error
    return [document for document in documents if document is not None]


def write_yaml(documents: Iterable[Any]) -> str:
    """The documents as YAML, with their keys in the order that they have."""
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=_LINE_CHARACTERS)
