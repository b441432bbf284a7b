"""All dashboards."""

from typing import Final

from tools.monitoring.dashboard_of_a_run import RUN_DASHBOARD
from tools.monitoring.dashboard_of_generation import GENERATION_DASHBOARD
from tools.monitoring.dashboard_of_the_fleet import FLEET_DASHBOARD

DASHBOARDS: Final = (RUN_DASHBOARD, FLEET_DASHBOARD, GENERATION_DASHBOARD)
