from pathlib import Path

import pytest

from synthray.errors import InvalidInput
from synthray.serving.bearer import TokenFile

TOKEN, NEXT = b"a-token-of-20-letters", b"another-of-20-letters"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    return path


@pytest.mark.parametrize("given", [b"", TOKEN[:-1], TOKEN + b"x", TOKEN.upper(), NEXT])
def test_only_the_token_itself_matches(path: Path, given: bytes) -> None:
    token = TokenFile(path)
    assert token.matches(TOKEN)
    assert not token.matches(given)


def test_a_file_that_changed_is_read_again(path: Path) -> None:
    token = TokenFile(path)
    following = path.with_name("next")
    following.write_bytes(NEXT)
    following.rename(path)
    assert token.matches(NEXT)
    assert not token.matches(TOKEN)


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_until_a_rotation_is_whole_the_former_token_counts(path: Path, content: bytes | None) -> None:
    token = TokenFile(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert token.matches(TOKEN)
    assert not token.matches(content or b"")


@pytest.mark.parametrize("content", [b"", b"   \n", b"short", b"with a space inside it", b"\xff" * 20, None])
def test_a_file_without_a_good_token_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"token file .*openssl rand -hex 32"):
        TokenFile(path)


def test_the_token_is_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: compared.append((one, other)))
    TokenFile(path).matches(b"x")
    assert compared == [(b"x", TOKEN)]
