"""The operator: turns TrainingRuns into KubeRay's RayClusters and says where they stand.

Pure functions decide (`decide`, `build_`), one module acts (`cluster`). No torch, no ray, no storage: what
the operator knows of a run it reads from the API server and from the run's driver.
"""
