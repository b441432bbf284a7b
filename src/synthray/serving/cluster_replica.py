"""The replica of a cluster: KubeRay hands Serve's configuration to Ray, and Ray calls `build`."""

import os
from typing import Any

from ray import serve

from synthray.api.names import METRICS_PORT
from synthray.api.replica_arguments import ReplicaArguments
from synthray.serving.replica import Replica, build_deployment
from synthray.serving.reporting import build_reporter
from synthray.serving.starting import check_settings, read_settings, wait_for_model
from synthray.storage import s3_settings_from_environment


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application of one service, from its arguments as JSON."""
    wanted = ReplicaArguments.model_validate(arguments, by_alias=True, by_name=False)
    return build_deployment(ClusterReplica, num_gpus=wanted.gpus).bind(wanted)


class ClusterReplica(Replica):
    """One model with its engine, in a pod of its own."""

    def __init__(self, arguments: ReplicaArguments) -> None:
        storage = s3_settings_from_environment(
            os.environ, endpoint_url=arguments.endpoint_url, region=arguments.region
        )
        settings = read_settings(arguments)
        check_settings(settings, storage)
        super().__init__(settings, storage, wait_for_model(settings, storage))
        self._server = build_reporter(self.service, self.counts, port=METRICS_PORT)
        self._server.__enter__()
