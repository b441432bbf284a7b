"""Where S3 settings come from, and which of them are refused before anything is sent."""

import re
from pathlib import Path

import pytest

from synthray.errors import InvalidInput, Reason
from synthray.storage import S3Settings, open_store, s3_settings_from_environment


def test_the_environment_wins_over_the_spec() -> None:
    settings = s3_settings_from_environment(
        {"AWS_ENDPOINT_URL": "http://laptop:8333", "AWS_REGION": "eu-central-1"},
        endpoint_url="http://s3.storage:8333",
        region="us-east-1",
    )
    assert (settings.endpoint_url, settings.region) == ("http://laptop:8333", "eu-central-1")


def test_the_spec_fills_what_the_environment_leaves_open() -> None:
    settings = s3_settings_from_environment(
        {"AWS_ENDPOINT_URL": ""}, endpoint_url="http://s3.storage:8333", region="us-east-1"
    )
    assert (settings.endpoint_url, settings.region) == ("http://s3.storage:8333", "us-east-1")


def test_the_variable_for_s3_alone_wins_over_that_for_all_services() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}
    assert s3_settings_from_environment(environ).endpoint_url == "http://s3"


def test_all_standard_variables_are_read() -> None:
    settings = s3_settings_from_environment(
        {
            "AWS_DEFAULT_REGION": "region",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
            "AWS_CA_BUNDLE": "/ca.pem",
            "AWS_PROFILE": "profile",
            "SYNTHRAY_STORAGE_DEADLINE_SECONDS": "7.5",
        }
    )
    assert settings == S3Settings(None, "region", "key", "secret", "token", "/ca.pem", "profile", None, 7.5)


def test_mounted_credentials_win_over_variables_and_are_not_in_the_settings(tmp_path: Path) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "mounted"), ("AWS_SECRET_ACCESS_KEY", "canary")):
        (tmp_path / name).write_text(value)
    settings = s3_settings_from_environment(
        {
            "SYNTHRAY_CREDENTIALS_DIRECTORY": str(tmp_path),
            "AWS_ACCESS_KEY_ID": "variable",
            "AWS_SECRET_ACCESS_KEY": "canary",
        }
    )
    assert settings == S3Settings(credentials_directory=str(tmp_path))
    open_store("s3://bucket", settings)


def test_a_folder_of_credentials_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as failure:
        open_store("s3://bucket", S3Settings(credentials_directory=f"{tmp_path}/none"))
    assert str(failure.value) == (
        f"SYNTHRAY_CREDENTIALS_DIRECTORY={tmp_path}/none is no folder; mount the Secret with the credentials "
        "there"
    )
    assert failure.value.reason is Reason.CREDENTIALS_REJECTED


def test_secrets_do_not_show() -> None:
    shown = repr(S3Settings(secret_access_key="canary-1", session_token="canary-2"))  # noqa: S106
    assert "canary" not in shown


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_an_impossible_deadline_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        s3_settings_from_environment({"SYNTHRAY_STORAGE_DEADLINE_SECONDS": text})
    assert str(failure.value) == (
        f"SYNTHRAY_STORAGE_DEADLINE_SECONDS={text} is not a positive number of seconds; use for example 60"
    )


@pytest.mark.parametrize(
    "endpoint",
    ["s3.storage:8333", "ftp://host", "http://", "http://host:port", "http://[::1", "https://:443"],
)
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(repr(endpoint)) + r".*AWS_ENDPOINT_URL"):
        open_store("s3://bucket", S3Settings(endpoint))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (S3Settings(access_key_id="key"), "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY; set both"),
        (
            S3Settings(secret_access_key="secret"),  # noqa: S106
            "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID; set both",
        ),
    ],
)
def test_half_a_pair_of_credentials_is_refused(settings: S3Settings, message: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        open_store("s3://bucket", settings)
    assert str(failure.value) == message
    assert failure.value.reason is Reason.CREDENTIALS_REJECTED


def test_a_missing_ca_bundle_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"AWS_CA_BUNDLE=/no/such\.pem is no file"):
        open_store("s3://bucket", S3Settings(ca_bundle="/no/such.pem"))
