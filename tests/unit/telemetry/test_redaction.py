"""No secret survives, in whatever form it stands; what helps stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.telemetry.redaction import REMOVED, redact_document, redact_text

CANARY = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+", min_size=16, max_size=40)
NAMES = st.sampled_from(
    [
        "AWS_SECRET_ACCESS_KEY",
        "aws_access_key_id",
        "AWS_SESSION_TOKEN",
        "password",
        "apiKey",
        "Authorization",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "RAY_AUTH_TOKEN",
        "clientSecret",
    ]
)
SENTENCES = st.sampled_from(
    [
        "{name}={canary}",
        "{name}: {canary}",
        '{{"{name}": "{canary}"}}',
        "GET http://s3/x?{name}={canary}&other=1 failed",
        "Authorization: Bearer {canary}",
        "connecting to https://user:{canary}@s3.lab/",
        "settings({name}='{canary}', region='eu')",
        "export {name}={canary}; echo done",
        "AKIAABCDEFGHIJKL {name}={canary}",
    ]
)


@given(sentence=SENTENCES, name=NAMES, canary=CANARY)
def test_no_secret_survives_in_a_log(sentence: str, name: str, canary: str) -> None:
    line = sentence.format(name=name, canary=canary)
    assert canary not in redact_text(f"before\n{line}\nafter")


@given(name=NAMES, canary=CANARY, sentence=SENTENCES)
def test_no_secret_survives_in_a_document(name: str, canary: str, sentence: str) -> None:
    document = {
        name: canary,
        "list": [{"name": name, "value": canary}, {name: [canary]}],
        "metadata": {"annotations": {"last-applied": json.dumps({name: canary})}, "managedFields": [canary]},
        "status": {"message": sentence.format(name=name, canary=canary)},
    }
    assert canary not in json.dumps(redact_document(document))


@pytest.mark.parametrize(
    "line",
    [
        "Secret s3-credentials does not exist in namespace lab; create it with the keys AWS_ACCESS_KEY_ID",
        'secretName: "s3-credentials"',
        "SYNTHRAY_CREDENTIALS_DIRECTORY=/var/run/synthray/credentials",
        "epoch 3, loss 0.1234, weights 98910abb413673318b7e1c30",
        "s3://xray/runs/chest/models/000000001806-a000001",
    ],
)
def test_what_helps_stays(line: str) -> None:
    assert redact_text(line) == line


def test_references_to_secrets_stay_and_values_go() -> None:
    document = {
        "volumes": [{"name": "credentials", "secret": {"secretName": "s3-credentials", "defaultMode": 288}}],
        "env": [
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"},
            {"name": "HOME", "value": "/home/synthray"},
        ],
        "imagePullSecrets": [{"name": "registry"}],
        "automountServiceAccountToken": False,
    }
    assert redact_document(document) == {
        **document,
        "env": [
            {"name": "AWS_SECRET_ACCESS_KEY", "value": REMOVED},
            {"name": "HOME", "value": "/home/synthray"},
        ],
    }
