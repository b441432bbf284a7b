"""What an unended preparation leaves beside its shards, so that the next one goes on: a plan and parts.

The plan says what is being prepared; a part follows each finished shard. Both are removed once `dataset.json`
stands, and with them the salt, after which nobody can test a patient's number against a group. It must not
decode.
"""

import secrets
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synthray.data.packing import PackedShard, ShardPart
from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectExists, ObjectStore

_PREFIX = "unfinished/"
_PLAN_KEY = _PREFIX + "plan.json"


class PreparePlan(BaseModel):
    """What decides the dataset's bytes, and the salt of its group tokens, which does not."""

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    listing_sha256: str
    size_px: int
    channels: int
    holdout: float
    shard_bytes: int
    salt: str = ""

    def prepares_same(self, other: "PreparePlan") -> bool:
        """Whether both plans lead to the same shards."""
        return self.model_copy(update={"salt": ""}) == other.model_copy(update={"salt": ""})


def begin_or_continue(destination: ObjectStore, wanted: PreparePlan) -> PreparePlan:
    """Store the plan, or return the one that stands there; raises InvalidInput if that is a different one."""
    plan = wanted.model_copy(update={"salt": secrets.token_hex(16)})
    try:
        destination.create(_PLAN_KEY, plan.model_dump_json().encode())
    except ObjectExists:
        plan = _read_plan(destination)
    if not plan.prepares_same(wanted):
        raise InvalidInput(
            f"{destination.uri} holds an unfinished preparation of another source, size, channels or holdout;"
            " repeat that one's command to end it, or delete it, or choose another destination",
            reason=Reason.PREFIX_IN_USE,
        )
    return plan


def write_shard(destination: ObjectStore, packed: PackedShard) -> None:
    """Store a shard and then its part: a part without its whole shard never exists."""
    destination.write(packed.part.shard.path, packed.data)
    destination.write(_part_key(packed.part.number), packed.part.model_dump_json().encode())


def read_parts(destination: ObjectStore) -> list[ShardPart]:
    """The parts from the first on, up to the first one that is missing or whose shard is."""
    sizes = {info.key: info.size_bytes for info in destination.list("shards/")}
    stored = {info.key for info in destination.list(_PREFIX)}
    parts: list[ShardPart] = []
    while (key := _part_key(len(parts))) in stored:
        part = ShardPart.model_validate_json(destination.read(key))
        if sizes.get(part.shard.path) != part.shard.bytes:
            break
        parts.append(part)
    return parts


def sweep_unfinished(destination: ObjectStore) -> None:
    """Remove the plan and the parts."""
    destination.delete([info.key for info in destination.list(_PREFIX)])


def _read_plan(destination: ObjectStore) -> PreparePlan:
    try:
        return PreparePlan.model_validate_json(destination.read(_PLAN_KEY))
    except ValidationError as invalid:
        raise InvalidInput(
            f"{destination.uri}/{_PLAN_KEY} is not a plan of this version; delete the objects in"
            f" {destination.uri}, or choose another destination",
            reason=Reason.PREFIX_IN_USE,
        ) from invalid


def _part_key(number: int) -> str:
    return f"{_PREFIX}{number:06d}.json"
