"""The dashboard of one run: is it getting on, does it learn, what holds it up, what would be lost."""

from typing import Final

from tools.monitoring.panel import Dashboard, Mark, Variable
from tools.monitoring.panels_of_safety import CHECKPOINTS, STORAGE, TIME
from tools.monitoring.panels_of_training import LEARNING, SPEED, STANDING
from tools.monitoring.queries_of_runs import rises_of

RUN_DASHBOARD: Final = Dashboard(
    name="run",
    title="synthray: a run",
    about="Is the run getting on, does it learn, what holds it up, what would be lost. Each panel's "
    "description says what good looks like.",
    variables=(
        Variable("namespace", "Namespace", "label_values(synthray_run_info, namespace)", all_at_once=False),
        Variable(
            "run", "Run", 'label_values(synthray_run_info{namespace=~"$namespace"}, run)', all_at_once=False
        ),
    ),
    rows=(STANDING, LEARNING, SPEED, TIME, CHECKPOINTS, STORAGE),
    marks=(
        Mark("fault", "red", rises_of("run_faults")),
        Mark("resize", "blue", rises_of("run_resizes")),
        Mark("start", "gray", rises_of("run_attempts")),
    ),
)
