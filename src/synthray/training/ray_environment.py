"""The variables that Ray's processes are started with; apart from Ray, which takes seconds to import."""

from collections.abc import Mapping
from typing import Final

RAY_ENVIRONMENT: Final[Mapping[str, str]] = {
    # Where images of patients are near, nothing reports home.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # A drain is heard by the driver, for all workers at once.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # cuBLAS repeats its results only with a workspace of fixed size.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
