"""How commands end: one line and an exit code for whatever a user can get wrong."""

from pathlib import Path

import pytest

from synthray.cli.entry import run


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["train"], 2, "Missing argument 'RUN.yaml'"),
        (["train", "missing.yaml"], 3, "missing.yaml does not exist"),
        (["generate", "model", "--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["verify", "missing.png"], 3, "missing.png: no such file"),
        (["checkpoints", "list", "missing"], 3, "holds no checkpoint yet"),
        (
            ["checkpoints", "list", "ftp://x/y"],
            2,
            "ftp:// is not supported; use s3://bucket/prefix or a folder",
        ),
        (["status", "missing"], 3, "holds no run; begin one with `synthray train RUN.yaml`"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_an_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("synthray: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "Train diffusion models" in capsys.readouterr().out
