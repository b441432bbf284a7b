"""GenerationServices on a cluster: each becomes one RayService of KubeRay.

Observed, decided and acted on like runs: a pure decision, a thin shell. It must not import torch or Ray.
"""
