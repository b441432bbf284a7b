"""The alerts, each once: the rules file, the chart's PrometheusRule and the table in docs follow from it.

An expression keeps of its labels only those that say what is in trouble (namespace and run, or the replica),
so that an alert outlives the pod that the figures came from.
"""

from typing import Final

from tools.monitoring.alerts_of_runs import RUN_ALERTS
from tools.monitoring.alerts_of_services import GENERATION_ALERTS, OPERATOR_ALERTS
from tools.monitoring.rule import Alert

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "synthray-runs": RUN_ALERTS,
    "synthray-operator": OPERATOR_ALERTS,
    "synthray-generation": GENERATION_ALERTS,
}
ALERTS: Final = tuple(alert for group in GROUPS.values() for alert in group)
