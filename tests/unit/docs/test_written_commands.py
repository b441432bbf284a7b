"""What pages tell a reader to type exists: commands, options, make targets, values of the chart, objects."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from synthray.api.loading import load_run_or_service
from synthray.cli.entry import app

PROJECT = Path(__file__).parents[3]
PAGES = sorted(
    page
    for page in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "helm").rglob("*.md")]
    # What once was true stays written in them.
    if page.name != "CHANGELOG.md" and "decisions" not in page.parts
)
NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
SHELL = {"", "sh", "console"}
# Typer has no public name for the error that all of a command line's errors are.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block, without the indent of a list's item."""
    for indent, language, text in re.findall(
        r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL
    ):
        yield language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def words(line: str) -> list[str]:
    """The words of a shell's line up to its comment; none where it is not one."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    try:
        return list(reader)
    except ValueError:
        return []


def commands(page: Path) -> Iterator[list[str]]:
    """Each simple command of a page's shell blocks and of its inline code, as words."""
    lines = [
        line.removeprefix("$ ")
        for language, text in blocks(page)
        if language in SHELL
        for line in text.replace("\\\n", " ").splitlines()
    ]
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`([^`\n]+)`", prose)
    for line in lines:
        command: list[str] = []
        for word in [*words(line), ";"]:
            if set(word) <= set("();<>|&"):
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def complain(arguments: list[str]) -> str:
    """What the command line has against a command's names and options; empty if nothing."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="synthray")
    try:
        while isinstance(command, TyperGroup) and arguments and not arguments[0].startswith("-"):
            _, command, arguments = command.resolve_command(context, arguments)
            context = typer.Context(command, parent=context, info_name=command.name)
        command.make_parser(context).parse_args(list(arguments))
    except UsageError as error:
        message = str(error.format_message())  # type: ignore[attr-defined]
        # A page may leave values out where it speaks of an option.
        return "" if "requires an argument" in message else message
    return ""


def resolve(schema: dict[str, Any], key: str) -> bool:
    """Whether the chart has a value of that name."""
    for name in re.split(r"(?<!\\)\.", re.sub(r"\[\d+\]", "", key)):
        if name in schema.get("properties", {}):
            schema = schema["properties"][name]
        elif isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        elif schema.get("type") == "array":
            schema = schema.get("items", {})
        else:
            return schema.get("additionalProperties", not schema.get("properties")) is True
    return True


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_of_synthray_exist_with_their_options(page: Path) -> None:
    complaints = {
        " ".join(command): complaint
        for command in commands(page)
        if command[0] == "synthray" and (complaint := complain(command[1:]))
    }
    assert complaints == {}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_targets_of_make_exist(page: Path) -> None:
    named = {
        word
        for command in commands(page)
        if command[0] == "make"
        for word in command[1:]
        if re.fullmatch(r"[a-z][a-z-]*", word)
    }
    assert named <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_values_that_helm_is_given_exist(page: Path) -> None:
    schema = json.loads((PROJECT / "helm" / "synthray" / "values.schema.json").read_text())
    given = {
        setting.partition("=")[0]
        for command in commands(page)
        if command[0] == "helm" and "helm/synthray" in command
        for option, setting in itertools.pairwise(command)
        if option in {"--set", "--set-string", "--set-json"}
    }
    assert {key for key in given if not resolve(schema, key)} == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_objects_that_a_page_shows_whole_are_accepted(page: Path, tmp_path: Path) -> None:
    for language, text in blocks(page):
        if language == "yaml" and re.search(r"^kind: (TrainingRun|GenerationService)$", text, re.MULTILINE):
            file = tmp_path / "object.yaml"
            file.write_text(text)
            load_run_or_service(file)


def test_the_pages_do_say_what_to_type() -> None:
    said = [command for page in PAGES for command in commands(page)]
    assert sum(command[0] == "synthray" and len(command) > 1 for command in said) > 60
    assert sum(command[0] == "make" and len(command) > 1 for command in said) > 15
    assert sum(command[0] == "helm" and "--set" in command for command in said) >= 2


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("train run.yaml --wrkers 2", "No such option"),
        ("trian run.yaml", "No such command"),
        ("checkpoints verfy s3://x/y", "No such command"),
        ("train run.yaml --workers 2", ""),
        ("generate s3://x/y --seed", ""),
    ],
)
def test_a_mistyped_command_is_noticed(command: str, complaint: str) -> None:
    assert complaint in complain(command.split())
    assert bool(complain(command.split())) == bool(complaint)
