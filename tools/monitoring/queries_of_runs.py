"""PromQL for the figures of a run, by the variables namespace and run of a dashboard."""

from typing import Final

OF_RUN: Final = 'namespace=~"$namespace",run=~"$run"'
BY_RUN: Final = "by (namespace, run)"


def gauge(name: str, more: str = "") -> str:
    """A figure of the run, whichever of its drivers' pods it comes from."""
    return f"max {BY_RUN} (synthray_{name}{{{OF_RUN}{more}}})"


def rate_of(name: str) -> str:
    """How fast a counter of the run rises, in its unit a second."""
    return f"sum {BY_RUN} (rate(synthray_{name}{{{OF_RUN}}}[$__rate_interval]))"


def rate_per(label: str, name: str) -> str:
    """How fast a counter rises, by the values of a label."""
    return f"sum by ({label}) (rate(synthray_{name}{{{OF_RUN}}}[$__rate_interval]))"


def quantile(share: float, name: str) -> str:
    """Below what `share` of a histogram's observations lie."""
    buckets = f"sum by (le) (rate(synthray_{name}_bucket{{{OF_RUN}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def rises_of(name: str) -> str:
    """Has a result at each moment at which a figure has just grown."""
    now = gauge(name)
    before = f"max {BY_RUN} (synthray_{name}{{{OF_RUN}}} offset $__interval)"
    return f"({now} - {before}) > 0"
