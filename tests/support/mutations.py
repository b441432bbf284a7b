"""Damage to a committed run, one byte or one object at a time, and what becomes of it.

    python tests/support/mutations.py --mutations 2000 --seed 0

prints the report. Each mutation is made to a fresh copy of a run of three attempts with five states and five
models, next to another run of the same shape with other numbers in it. Then everybody looks: who lists, who
verifies, who resumes, who loads, and a next attempt that trains on and makes room.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from attempt_writer import AttemptWriter
from memory_store import MemoryStore
from run_contexts import build_context
from small_run import SmallRun, check_tensors

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.documents import seal, unseal
from synthray.checkpoints.layout import digest_file_tensors
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.names import MODEL_WEIGHTS_FILE, CheckpointName
from synthray.checkpoints.report import build_listing, build_verification
from synthray.checkpoints.requests import RetentionPolicy
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import VerificationFailed

RUN, OTHER = "run/", "other/"
SAVES = {1: (100, 200), 2: (300, 400), 3: (500,)}
POLICY = RetentionPolicy(states=1, models_every_nth_epoch=100, best=0)
Objects = dict[str, bytes]


@dataclass(frozen=True)
class Mutation:
    """Which objects were changed, and how; keys are relative to the run."""

    kind: str
    keys: tuple[str, ...]
    objects: Objects

    @property
    def hidden_states(self) -> set[CheckpointName]:
        """States of which something is changed."""
        names = (CheckpointName.parse(key.split("/")[1]) for key in self.keys if key.startswith("states/"))
        return {name for name in names if name is not None}


def build_runs() -> Objects:
    """The run and the other one, in which every tensor holds another value."""
    store = MemoryStore()
    for prefix, shift in ((RUN, 0.0), (OTHER, 0.5)):
        run = SmallRun(store.child(prefix.rstrip("/")), prefix.rstrip("/"), shift=shift)
        source = None
        for saves in SAVES.values():
            context = run.begin(source)
            for images_seen in saves:
                source = run.commit(context, images_seen).state
    return store.objects


Change = Callable[[Objects, str, random.Random], tuple[str, ...]]


def flip_bit(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    data = bytearray(objects[key])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    objects[key] = bytes(data)
    return (key,)


def change_byte(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    data = bytearray(objects[key])
    data[chance.randrange(len(data))] = chance.randrange(256)
    objects[key] = bytes(data)
    return (key,)


def insert_space(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """In JSON it often means nothing; only the bytes that were written are accepted all the same."""
    data = objects[key]
    place = chance.choice([0, len(data), data.find(b",") + 1, chance.randrange(len(data))])
    objects[key] = data[:place] + b" " + data[place:]
    return (key,)


def truncate(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    objects[key] = objects[key][: chance.randrange(len(objects[key]))]
    return (key,)


def append(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    objects[key] += chance.randbytes(chance.randrange(1, 100))
    return (key,)


def zero(objects: Objects, key: str, _chance: random.Random) -> tuple[str, ...]:
    objects[key] = bytes(len(objects[key]))
    return (key,)


def delete(objects: Objects, key: str, _chance: random.Random) -> tuple[str, ...]:
    del objects[key]
    return (key,)


def swap(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """With any other object of the run."""
    other = chance.choice([one for one in objects if one.startswith(RUN) and one != key])
    objects[key], objects[other] = objects[other], objects[key]
    return (key, other)


def take_from_another_checkpoint(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """The object of the same name, or one of the same kind."""
    last = key.rpartition("/")[2]
    alike = [one for one in objects if one.startswith(RUN) and one.endswith(last) and one != key]
    objects[key] = objects[chance.choice(alike or [one for one in objects if one.startswith(RUN)])]
    return (key,)


def take_from_another_run(objects: Objects, key: str, _chance: random.Random) -> tuple[str, ...]:
    """The very same place there: same attempt, same images seen, sound in itself."""
    objects[key] = objects[OTHER + key.removeprefix(RUN)]
    return (key,)


def edit_json(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """One field of a document, spelled as the project spells it, with the digest that it had."""
    try:
        fields = json.loads(objects[key])
    except ValueError:
        return flip_bit(objects, key, chance)
    if not fields:
        return append(objects, key, chance)
    name = chance.choice(sorted(fields))
    value = fields[name]
    fields[name] = value + 1 if isinstance(value, int | float) else "edited" if value is None else None
    objects[key] = json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False).encode()
    return (key,)


def move_manifest(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """Another checkpoint's or another run's manifest, made to fit this place and sealed anew."""
    if not key.endswith("manifest.json"):
        return take_from_another_run(objects, key, chance)
    here = unseal(Manifest, objects[key])
    donors = [
        one
        for one in objects
        if one.endswith("manifest.json") and one != key and one.split("/")[1] == key.split("/")[1]
    ]
    there = unseal(Manifest, objects[chance.choice(donors)])
    fitted = {name: getattr(here, name) for name in ("run", "attempt", "images_seen")}
    objects[key] = seal(there.model_copy(update=fitted))
    return (key,)


def forge_manifest(objects: Objects, key: str, chance: random.Random) -> tuple[str, ...]:
    """A field of a manifest changed and all of it sealed anew, with the nonce of its attempt."""
    key = chance.choice([one for one in objects if one.startswith(RUN) and one.endswith("manifest.json")])
    manifest = unseal(Manifest, objects[key])
    changes = {
        "epoch": manifest.epoch + 1,
        "step": manifest.step + 1,
        "created": "2027-01-01T00:00:00+00:00",
        "validation_loss": 0.0,
        "parent": None if manifest.parent else "000000000100-a000001",
        "rng_key": "1",
        "config_digest": "e" * 64,
        "dataset_digest": "e" * 64,
        "weights_sha256": "e" * 64,
        "ledger": {"forged": True},
        "fingerprint": {"device": "forged"},
        "parts": tuple(part.model_copy(update={"sha256": "e" * 64}) for part in manifest.parts),
    }
    field = chance.choice(sorted(changes))
    objects[key] = seal(manifest.model_copy(update={field: changes[field]}))
    return (key,)


CHANGES: Mapping[str, Change] = {
    "one bit flipped": flip_bit,
    "one byte changed": change_byte,
    "one space put in": insert_space,
    "truncated": truncate,
    "bytes appended": append,
    "filled with zeros": zero,
    "deleted": delete,
    "swapped with another object": swap,
    "replaced by another checkpoint's": take_from_another_checkpoint,
    "replaced by another run's": take_from_another_run,
    "a JSON field edited": edit_json,
    "a foreign manifest fitted and sealed anew": move_manifest,
}


FORGERIES: Mapping[str, Change] = {"its own manifest edited and sealed anew": forge_manifest}
"""Not damage but intent: nothing in a store that holds no secret can tell all of these."""


def mutate(runs: Objects, seed: int, changes: Mapping[str, Change] = CHANGES) -> Mutation:
    """The mutation of that number; draws again where nothing was changed."""
    chance = random.Random(seed)  # noqa: S311
    kinds = list(changes)
    while True:
        objects = dict(runs)
        key = chance.choice([one for one in objects if one.startswith(RUN)])
        kind = kinds[seed % len(kinds)]
        keys = changes[kind](objects, key, chance)
        if any(objects.get(one) != runs[one] for one in keys):
            return Mutation(kind, tuple(one.removeprefix(RUN) for one in keys), objects)


@dataclass(frozen=True)
class Verdict:
    """How a mutation was met; `seen_by` is empty if it was not detected.

    `kept` says whether what was known to be damaged is still there after the next attempt made room; None if
    nothing is left to keep, or nobody had a reason to look before it went with its age.
    """

    seen_by: str
    newest_good: bool
    kept: bool | None


def judge(mutation: Mutation) -> Verdict:
    """Let everybody look; raises AssertionError if anybody is given wrong tensors."""
    run = SmallRun(MemoryStore(mutation.objects).child(RUN.rstrip("/")), RUN.rstrip("/"))
    seen_by = _detect(run.checkpoints)
    _load_everything(run.checkpoints)
    point = run.checkpoints.newest_good_state()
    assert point.manifest is not None, "a run with good states was taken for an empty one"
    check_tensors(run.checkpoints, point.manifest)
    good = [
        CheckpointName(images_seen, attempt)
        for attempt, saves in SAVES.items()
        for images_seen in saves
        if CheckpointName(images_seen, attempt) not in mutation.hidden_states
    ]
    resumed = point.manifest.name
    # A state whose manifest alone is gone may stand on the copy that the next attempt keeps.
    newest_good = resumed == max(good) or resumed > max(good)
    damaged = {key for key in mutation.keys if _is_known_to_be_damaged(run, key, resumed)}
    _train_on(run, str(resumed))
    there = {info.key for info in run.store.list()}
    return Verdict(seen_by, newest_good, damaged <= there if damaged else None)


def _detect(checkpoints: CheckpointStore) -> str:
    """What tells it first: `list` reads documents alone, `verify` every byte."""
    listing = build_listing(checkpoints)
    entries = [*listing["states"], *listing["models"], *listing["ignored"], *listing["unfinished"]]
    if listing["problems"] or any(entry["problems"] for entry in entries):
        return "list"
    answer = build_verification(checkpoints)
    told = answer["problems"] or any(entry["problems"] for entry in answer["ignored"])
    return "verify" if told or not answer["ok"] else ""


def _load_everything(checkpoints: CheckpointStore) -> None:
    """Each state and model that is offered is either refused or what its images_seen say."""
    for state in checkpoints.list_states():
        try:
            check_tensors(checkpoints, state)
        except VerificationFailed:
            continue
    for model in checkpoints.list_models():
        try:
            weights = checkpoints.read_part(model, MODEL_WEIGHTS_FILE)
        except VerificationFailed:
            continue
        ema = SmallRun.files(SmallRun(checkpoints.store), model.images_seen)["ema"]
        assert digest_file_tensors(weights.data) == digest_file_tensors(ema)


def _is_known_to_be_damaged(run: SmallRun, key: str, resumed: CheckpointName) -> bool:
    """Whether listing tells so, or a resume has passed it over; and there is something to keep."""
    info = run.store.stat(key)
    if info is None or not key.startswith(("states/", "models/")):
        return False
    for kind in ("state", "model"):
        accepted, _ = run.checkpoints.list_checkpoints("state" if kind == "state" else "model")
        for one in accepted:
            if key.startswith(one.directory.prefix):
                return bool(one.problems) or (kind == "state" and one.name > resumed)
    return False


def _train_on(run: SmallRun, resumes_from: str) -> None:
    """A next attempt saves until nothing more than its own states would have to stay."""
    record = begin_attempt(run.store, "driver", resumes_from)
    context = replace(build_context(record, run.name), retention=POLICY)
    writer = AttemptWriter(run.store, context)
    for images_seen in (600, 700):
        answer = writer.save(images_seen)
        assert answer.report is not None, answer.error_message
        assert not answer.retention_problem, answer.retention_problem
    run.check_loads(700)


def place_of(key: str) -> str:
    """What kind of object it is, for the report."""
    root, _, rest = key.partition("/")
    if key == "run.json":
        return "run.json"
    if root == "attempts":
        return "claim of an attempt" if ".claim." in rest else "record of an attempt"
    what = "manifest" if key.endswith("manifest.json") else "part"
    return f"{what} of a {root.removesuffix('s')}"


def main() -> None:
    """Make the mutations and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--forgeries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    runs = build_runs()
    for title, count, changes in (
        ("Damage", options.mutations, CHANGES),
        ("Forgery", options.forgeries, FORGERIES),
    ):
        started = time.perf_counter()
        tables = tally(mutate(runs, seed, changes) for seed in range(options.seed, options.seed + count))
        print(f"## {title}: {count} in {time.perf_counter() - started:.0f} s")
        for name, rows in tables.items():
            print_table(name, rows)


def tally(mutations: Iterable[Mutation]) -> dict[str, Counter[tuple[str, str]]]:
    """How many of each kind, and of each kind of object, met with which outcome."""
    tables: dict[str, Counter[tuple[str, str]]] = {"by kind": Counter(), "by object": Counter()}
    for mutation in mutations:
        verdict = judge(mutation)
        outcomes = [
            "all",
            f"seen by {verdict.seen_by}" if verdict.seen_by else "not detected",
            "newest good used" if verdict.newest_good else "an older one used",
            *({True: ["kept"], False: ["deleted"], None: []}[verdict.kept]),
        ]
        for outcome in outcomes:
            tables["by kind"][mutation.kind, outcome] += 1
            tables["by object"][place_of(mutation.keys[0]), outcome] += 1
    return tables


def print_table(name: str, rows: Counter[tuple[str, str]]) -> None:
    """One line for each kind, with the number of each outcome."""
    columns = ("all", "seen by list", "seen by verify", "not detected", "newest good used", "kept", "deleted")
    print(f"\n| {name} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for kind in sorted({kind for kind, _ in rows}):
        print(f"| {kind} | {' | '.join(str(rows[kind, column]) for column in columns)} |")
    total = [sum(count for (_, outcome), count in rows.items() if outcome == column) for column in columns]
    print(f"| **all** | {' | '.join(map(str, total))} |\n")


if __name__ == "__main__":
    main()
