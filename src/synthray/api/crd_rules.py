"""The rules between fields, in CEL: what `training_run_rules` says in Python, in the same words.

A cluster's API server evaluates them on every create, update, patch and scale. A differential test holds both
to each other. What they need to know of a preset is written into them from `architecture`.
"""

from collections.abc import Mapping
from typing import Final

from synthray.api.architecture import PRESETS
from synthray.api.cel import Rule, write_constant

_MODEL: Final = "spec.model"
_WORKERS: Final = "spec.workers"
_OPTIMIZATION: Final = "spec.optimization"
_SCHEDULE: Final = f"{_OPTIMIZATION}.learningRateSchedule"


def _of_preset(attribute: str) -> str:
    """CEL for what the preset says of an attribute of the network."""
    by_preset = {name: getattr(shape, attribute) for name, shape in PRESETS.items()}
    return f"{write_constant(by_preset)}[self.preset]"


def _given_or_preset(field: str, attribute: str) -> str:
    return f"(has(self.{field}) ? self.{field} : {_of_preset(attribute)})"


def _neighbours(value: str, multiple: str) -> str:
    """CEL for the nearest multiples below and above: `480 or 512`."""
    below = f"{value} / {multiple} * {multiple}"
    above = f"{below} + {multiple}"
    return f'({below} > 0 ? "%s or %s".format([{below}, {above}]) : "%s".format([{above}]))'


_WIDTHS: Final = _given_or_preset("blockOutChannels", "block_out_channels")
_DOWN: Final = _given_or_preset("downBlockTypes", "down_block_types")
_UP: Final = _given_or_preset("upBlockTypes", "up_block_types")
_GROUPS: Final = _given_or_preset("normNumGroups", "norm_num_groups")
_HEAD: Final = _given_or_preset("attentionHeadDim", "attention_head_dim")
# 2^(blocks - 1) by the number of blocks: each block but the last halves the image.
_HALVINGS: Final = "[1, 1, 2, 4, 8, 16, 32, 64, 128]"
_BLOCKS: Final = "[0, 1, 2, 3, 4, 5, 6, 7]"


def _same_length_rule(field: str, types: str) -> Rule:
    return Rule(
        "types == blocks",
        f"{_MODEL}.{field} has {{types}} entries and {_MODEL}.blockOutChannels {{blocks}}; "
        "give {blocks} of each",
        {"types": "types", "blocks": "blocks"},
        given={"types": f"{types}.size()", "blocks": f"{_WIDTHS}.size()"},
        shown_at=f".{field}",
    )


def _width_rule(is_concerned: str, divisor: str, message: str, given: Mapping[str, str]) -> Rule:
    """Of each width that is concerned (CEL over index `i` and widths `w`): the divisor `d` divides it.

    The message may name {index}, {width}, {divisor} and {remedy} of the first one that is not.
    """
    bad = f"{_BLOCKS}.filter(i, i < w.size() && {is_concerned} && w[i] % d != 0)"
    return Rule(
        "bad.size() == 0",
        message,
        {
            "index": "bad[0]",
            "width": "w[bad[0]]",
            "divisor": "d",
            "remedy": _neighbours("w[bad[0]]", "d"),
        },
        given={"w": _WIDTHS, "d": divisor, **given, "bad": bad},
        shown_at=".blockOutChannels",
    )


# The last width is the middle's, which attends always; up blocks run from the coarsest to the finest.
_HAS_ATTENTION: Final = (
    "(i == w.size() - 1"
    ' || (i < down.size() && down[i].startsWith("Attn"))'
    ' || (w.size() - 1 - i < up.size() && up[w.size() - 1 - i].startsWith("Attn")))'
)
_MODEL_RULES: Final = (
    Rule(
        "resolution % multiple == 0",
        f"{_MODEL}.resolution={{resolution}} is not divisible by {{multiple}}; use {{remedy}}",
        {
            "resolution": "resolution",
            "multiple": "multiple",
            "remedy": _neighbours("resolution", "multiple"),
        },
        given={
            "resolution": _given_or_preset("resolution", "resolution_px"),
            "multiple": f"{_HALVINGS}[{_WIDTHS}.size()]",
        },
        shown_at=".resolution",
    ),
    _same_length_rule("downBlockTypes", _DOWN),
    _same_length_rule("upBlockTypes", _UP),
    _width_rule(
        "true",
        _GROUPS,
        f"{_MODEL}.blockOutChannels[{{index}}]={{width}} is not divisible by "
        f"{_MODEL}.normNumGroups={{divisor}}; use {{remedy}}",
        {},
    ),
    _width_rule(
        _HAS_ATTENTION,
        _HEAD,
        f"{_MODEL}.blockOutChannels[{{index}}]={{width}} has attention and is not divisible by "
        f"{_MODEL}.attentionHeadDim={{divisor}}; use {{remedy}}",
        {"down": _DOWN, "up": _UP},
    ),
)
_DIFFUSION_RULES: Final = (
    Rule(
        '!(self.predictionType == "epsilon" && self.zeroTerminalSNR)',
        "spec.diffusion.zeroTerminalSNR=true is undefined with spec.diffusion.predictionType=epsilon; "
        "use predictionType: v_prediction, or zeroTerminalSNR: false",
        shown_at=".zeroTerminalSNR",
    ),
)
_OPTIMIZATION_RULES: Final = (
    Rule(
        "self.globalBatchSize % self.microBatchSize == 0",
        f"{_OPTIMIZATION}.globalBatchSize={{batch}} is not divisible by "
        f"{_OPTIMIZATION}.microBatchSize={{micro}}; use {{remedy}}",
        {
            "batch": "self.globalBatchSize",
            "micro": "self.microBatchSize",
            "remedy": _neighbours("self.globalBatchSize", "self.microBatchSize"),
        },
        shown_at=".globalBatchSize",
    ),
)
_SCHEDULE_RULES: Final = (
    Rule(
        '!(self.decay == "constant" && self.decayImages > 0)',
        f"{_SCHEDULE}.decayImages={{images}} has no meaning with {_SCHEDULE}.decay=constant; "
        "use 0, or decay: inverse_square_root or linear",
        {"images": "self.decayImages"},
        shown_at=".decayImages",
    ),
    Rule(
        '!(self.decay != "constant" && self.decayImages == 0)',
        f"{_SCHEDULE}.decayImages=0 is no length for {_SCHEDULE}.decay={{decay}}; "
        "use the number of images that the decay takes",
        {"decay": "self.decay"},
        shown_at=".decayImages",
    ),
)
_WORKERS_RULES: Final = (
    Rule(
        # Below 1 the field has a complaint of its own.
        "self.replicas < 1 || self.minReplicas <= self.replicas",
        f"{_WORKERS}.replicas={{replicas}} is below {_WORKERS}.minReplicas={{minimum}}; use {{minimum}} or "
        "more, or lower minReplicas; to release all workers set spec.suspend: true",
        {"replicas": "self.replicas", "minimum": "self.minReplicas"},
        shown_at=".replicas",
    ),
    Rule(
        "!has(self.maxReplicas) || self.replicas <= self.maxReplicas",
        f"{_WORKERS}.replicas={{replicas}} is above {_WORKERS}.maxReplicas={{maximum}}; "
        "use {maximum} or less",
        {"replicas": "self.replicas", "maximum": "self.maxReplicas"},
        shown_at=".replicas",
    ),
)
_MOST_WORKERS: Final = "(has(self.workers.maxReplicas) ? self.workers.maxReplicas : self.workers.replicas)"
_MICRO_BATCHES: Final = "self.optimization.globalBatchSize / self.optimization.microBatchSize"
WITHOUT_SLASHES: Final = 'find("^.*[^/]")'
"""CEL, after a text and a dot: the text without the slashes at its end, which mean nothing in a prefix."""
# As the command line shows it: of "/" it leaves one.
_SHOWN: Final = 'find("^.*[^/]|^/")'
# And then one: "s3://a/b" lies in "s3://a" and not in "s3://a/bc".
_DATASET: Final = f'(self.dataset.uri.{WITHOUT_SLASHES} + "/")'
_CHECKPOINTS: Final = f'(self.checkpoints.uri.{WITHOUT_SLASHES} + "/")'
_SPEC_RULES: Final = (
    Rule(
        "self.optimization.globalBatchSize % self.optimization.microBatchSize != 0"
        f" || {_MOST_WORKERS} <= {_MICRO_BATCHES}",
        f"{_WORKERS}.{{name}}={{most}} is above the {{count}} micro-batches of a step "
        "(globalBatchSize={batch} / microBatchSize={micro}); use {count} or less",
        {
            "name": 'has(self.workers.maxReplicas) ? "maxReplicas" : "replicas"',
            "most": f"{_MOST_WORKERS}",
            "count": f"{_MICRO_BATCHES}",
            "batch": "self.optimization.globalBatchSize",
            "micro": "self.optimization.microBatchSize",
        },
        shown_at=".workers",
    ),
    Rule(
        f"!{_DATASET}.startsWith({_CHECKPOINTS}) && !{_CHECKPOINTS}.startsWith({_DATASET})",
        "spec.checkpoints.uri={checkpoints} and spec.dataset.uri={dataset} lie one in the other; "
        "use a prefix for each",
        {"checkpoints": f"self.checkpoints.uri.{_SHOWN}", "dataset": f"self.dataset.uri.{_SHOWN}"},
        shown_at=".checkpoints",
    ),
)
_TWICE: Final = "self.seeds.filter(s, !self.seeds.exists_one(other, other == s))"
_PREVIEWS_RULES: Final = (
    Rule(
        f"{_TWICE}.size() == 0",
        "spec.previews.seeds names {seed} twice; name each seed once",
        {"seed": f"{_TWICE}[0]"},
        shown_at=".seeds",
    ),
)
TRAINING_RUN_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec": _SPEC_RULES,
    "spec.model": _MODEL_RULES,
    "spec.diffusion": _DIFFUSION_RULES,
    "spec.optimization": _OPTIMIZATION_RULES,
    "spec.optimization.learningRateSchedule": _SCHEDULE_RULES,
    "spec.workers": _WORKERS_RULES,
    "spec.previews": _PREVIEWS_RULES,
}

GENERATION_SERVICE_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.model": (
        Rule(
            '(self.trainingRun != "") != (self.uri != "")',
            "spec.model needs exactly one of trainingRun and uri, and {found}; give one, for example "
            "trainingRun: ranzcr-512",
            {"found": 'self.uri != "" ? "both are given" : "neither is given"'},
        ),
    ),
    "spec.limits": (
        Rule(
            "self.maxImagesPerRequest <= self.maxQueuedImages",
            "spec.limits.maxImagesPerRequest={images} is above spec.limits.maxQueuedImages={queued}, so it "
            "could never be queued; use {queued} or less",
            {"images": "self.maxImagesPerRequest", "queued": "self.maxQueuedImages"},
            shown_at=".maxImagesPerRequest",
        ),
    ),
    "spec": (
        Rule(
            "self.sampler.steps <= self.limits.maxSteps",
            "spec.sampler.steps={steps} is above spec.limits.maxSteps={maximum}; use {maximum} or less",
            {"steps": "self.sampler.steps", "maximum": "self.limits.maxSteps"},
            shown_at=".sampler",
        ),
    ),
}
# Names of clusters and pods are made from it. Kubernetes itself would allow 253 characters and dots.
NAME_RULE: Final = Rule(
    'self.metadata.name.size() <= 40 && self.metadata.name.matches("^[a-z]([-a-z0-9]*[a-z0-9])?$")',
    "metadata.name={name} has not the form that it needs; use at most 40 lower-case letters, digits and "
    "hyphens, beginning with a letter and not ending with a hyphen",
    {"name": "self.metadata.name"},
    shown_at=".metadata.name",
)
