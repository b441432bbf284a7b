"""What a replica says of itself on /progress, checked: a pod's words are input like any other. Pure."""

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from synthray.api.v1alpha1.fields import StatusModel
from synthray.errors import VerificationFailed


class ReplicaWord(StatusModel):
    """Where a replica stands; snake_case, as the replica writes it.

    `problem`: why it should not be asked; `rollout_problem`: why it does not serve the newest model.
    """

    model_config = ConfigDict(alias_generator=None)

    model: str = Field(max_length=1024)
    model_digest: str = Field(max_length=64)
    queued_images: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    problem: str = Field(default="", max_length=4096)
    rollout_problem: str = Field(default="", max_length=4096)


def parse_replica_word(body: bytes) -> ReplicaWord:
    """A replica's document; raises VerificationFailed if it is none."""
    try:
        return ReplicaWord.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise VerificationFailed(f"/progress: {where}: {first['msg']}") from error
