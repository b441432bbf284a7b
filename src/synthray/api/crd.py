"""The CustomResourceDefinitions, generated from the models that the command line validates files with.

What `kubectl` knows of the objects (schema, rules, columns, scale) is built here; nothing is written twice.
"""

from collections.abc import Mapping
from typing import Any, Final

from synthray.api.cel import Rule
from synthray.api.crd_immutability import build_immutability_rules
from synthray.api.crd_rules import GENERATION_SERVICE_RULES, NAME_RULE, TRAINING_RUN_RULES
from synthray.api.crd_schema import Schema, add_rule, build_schema, node_at
from synthray.api.messages import model_in
from synthray.api.names import API_GROUP, API_VERSION
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.api.v1alpha1.fields import ApiModel

Manifest = dict[str, Any]


def build_training_run_crd() -> Manifest:
    """The CustomResourceDefinition of TrainingRun."""
    schema = _build_object_schema(TrainingRun, TRAINING_RUN_RULES)
    for path, rule in build_immutability_rules(node_at(schema, "spec")):
        add_rule(node_at(schema, f"spec.{path}" if path else "spec"), rule)
    return _build_crd(
        TrainingRun,
        plural="trainingruns",
        short_name="trun",
        schema=schema,
        scale={
            "specReplicasPath": ".spec.workers.replicas",
            "statusReplicasPath": ".status.workers.replicas",
            "labelSelectorPath": ".status.workers.selector",
        },
        columns=_TRAINING_RUN_COLUMNS,
    )


def build_generation_service_crd() -> Manifest:
    """The CustomResourceDefinition of GenerationService."""
    return _build_crd(
        GenerationService,
        plural="generationservices",
        short_name="gensvc",
        schema=_build_object_schema(GenerationService, GENERATION_SERVICE_RULES),
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        columns=_GENERATION_SERVICE_COLUMNS,
    )


def build_crds() -> tuple[Manifest, ...]:
    """All CustomResourceDefinitions of synthray."""
    return build_training_run_crd(), build_generation_service_crd()


def _column(name: str, path: str, description: str, *, kind: str = "string", wide: bool = False) -> Manifest:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column


_AGE: Final = _column("Age", ".metadata.creationTimestamp", "Since when it exists.", kind="date")
_TRAINING_RUN_COLUMNS: Final = (
    _column("State", ".status.state", "What the run is doing."),
    _column("Epoch", ".status.epoch", "Epochs finished.", kind="integer"),
    _column("Progress", ".status.progress", "Share of the images."),
    _column("Loss", ".status.loss", "Mean training loss of late.", kind="number"),
    _column("Img/s", ".status.imagesPerSecond", "Images per second, all workers together.", kind="number"),
    _column("Workers", ".status.workers.ready", "Workers that compute.", kind="integer"),
    _column("ETA", ".status.eta", "Time to the end at this speed."),
    _AGE,
    _column("Wanted", ".spec.workers.replicas", "Workers wanted.", kind="integer", wide=True),
    _column("GPU", ".spec.workers.gpu.product", "The card of each worker.", wide=True),
    _column("Attempt", ".status.attempt", "Number of the attempt.", kind="integer", wide=True),
    _column("Checkpoint", ".status.lastCheckpoint.time", "Age of the newest state.", kind="date", wide=True),
    _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is so.", wide=True),
)
_GENERATION_SERVICE_COLUMNS: Final = (
    _column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether it answers."),
    _column("Replicas", ".status.readyReplicas", "Replicas that answer.", kind="integer"),
    _column("Queued", ".status.queuedImages", "Images that wait.", kind="integer"),
    _column("Model", ".status.model", "Address of the model that is served."),
    _AGE,
    _column("URL", ".status.url", "Address inside the cluster.", wide=True),
    _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is so.", wide=True),
)


def _build_object_schema(model: type[ApiModel], rules: Mapping[str, tuple[Rule, ...]]) -> Schema:
    schema: Schema = {
        "type": "object",
        "description": model.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the object's form."},
            "kind": {"type": "string", "description": "Kind of the object."},
            # Kubernetes describes the rest of it itself, and takes no other schema for it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
    for part in ("spec", "status"):
        schema["properties"][part] = _build_part(model, part)
    add_rule(schema, NAME_RULE)
    for path, rules_there in rules.items():
        for rule in rules_there:
            add_rule(node_at(schema, path), rule)
    return schema


def _build_part(model: type[ApiModel], part: str) -> Schema:
    """The schema of `spec` or `status`, described as the field is."""
    field = model.model_fields[part]
    inner = model_in(field.annotation)
    return {**(build_schema(inner, part) if inner else {}), "description": field.description}


def _build_crd(
    model: type[ApiModel],
    *,
    plural: str,
    short_name: str,
    schema: Schema,
    scale: Manifest,
    columns: tuple[Manifest, ...],
) -> Manifest:
    kind = model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{API_GROUP}",
            "labels": {"app.kubernetes.io/name": "synthray", "app.kubernetes.io/part-of": "synthray"},
        },
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["synthray"],
            },
            "versions": [
                {
                    "name": API_VERSION.rpartition("/")[2],
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, "scale": scale},
                    "additionalPrinterColumns": list(columns),
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
