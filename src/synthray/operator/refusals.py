"""What the installation does not allow a run or a service to name. Pure.

Whoever may create a run could otherwise run any image as any service account of its namespace.
"""

from collections.abc import Sequence

from synthray.operator.configuration import Allowed
from synthray.operator.pod_parts import Spec


def find_refusal(spec: Spec, allowed: Allowed) -> str:
    """The field, its value and the remedy for the first thing that is not allowed; empty if all is."""
    if spec.image and not _matches(spec.image, allowed.images):
        return _describe("spec.image", spec.image, allowed.images, "images")
    if spec.service_account_name and spec.service_account_name not in allowed.service_account_names:
        return _describe(
            "spec.serviceAccountName",
            spec.service_account_name,
            allowed.service_account_names,
            "serviceAccountNames",
        )
    if spec.priority_class_name and spec.priority_class_name not in allowed.priority_class_names:
        return _describe(
            "spec.priorityClassName",
            spec.priority_class_name,
            allowed.priority_class_names,
            "priorityClassNames",
        )
    return ""


def _matches(image: str, patterns: Sequence[str]) -> bool:
    return any(
        image.startswith(pattern.removesuffix("*")) if pattern.endswith("*") else image == pattern
        for pattern in patterns
    )


def _describe(field: str, value: str, allowed: Sequence[str], name: str) -> str:
    choice = f"use one of {', '.join(allowed)}" if allowed else "leave it out"
    remedy = f"{choice}, or have it added to the chart's config.allowed.{name}"
    return f"{field}={value} is not allowed here; {remedy}"
