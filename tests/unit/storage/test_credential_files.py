"""Credentials in a folder: both files of one version, or a message that names what is missing."""

from pathlib import Path

import pytest

from synthray.storage.credential_files import Credentials, MissingCredentials, read_credentials


def write(folder: Path, key: str, secret: str, token: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "AWS_ACCESS_KEY_ID").write_text(f"{key}\n")
    (folder / "AWS_SECRET_ACCESS_KEY").write_text(secret)
    if token is not None:
        (folder / "AWS_SESSION_TOKEN").write_text(token)


def mount(folder: Path, version: str, key: str, secret: str) -> None:
    """What the kubelet does: a folder for each version, and a link that is swapped."""
    write(folder / version, key, secret)
    link = folder / "new"
    link.symlink_to(version)
    link.replace(folder / "..data")


def test_files_are_read_without_the_newline_at_their_end(tmp_path: Path) -> None:
    write(tmp_path, "key", "secret")
    assert read_credentials(str(tmp_path)) == Credentials("key", "secret")
    write(tmp_path, "key", "secret", "token")
    assert read_credentials(str(tmp_path)) == Credentials("key", "secret", "token")


def test_a_mounted_secret_is_followed_to_its_newest_version(tmp_path: Path) -> None:
    mount(tmp_path, "..1", "old", "old-secret")
    assert read_credentials(str(tmp_path)) == Credentials("old", "old-secret")
    mount(tmp_path, "..2", "new", "new-secret")
    assert read_credentials(str(tmp_path)) == Credentials("new", "new-secret")


def test_a_version_that_is_replaced_while_it_is_read_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(tmp_path, "..1", "old", "old-secret")
    read = Path.read_text
    replaced = False

    def read_and_replace(path: Path) -> str:
        nonlocal replaced
        text = read(path)
        if not replaced:
            replaced = True
            mount(tmp_path, "..2", "new", "new-secret")
        return text

    monkeypatch.setattr(Path, "read_text", read_and_replace)
    assert read_credentials(str(tmp_path)) == Credentials("new", "new-secret")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, "key", "secret")
    (tmp_path / name).write_text("\n")
    with pytest.raises(MissingCredentials, match=f"{tmp_path}/{name} is missing or empty"):
        read_credentials(str(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(MissingCredentials, match=name):
        read_credentials(str(tmp_path))


def test_secrets_do_not_show() -> None:
    assert "canary" not in repr(Credentials("key", "canary", "canary"))
