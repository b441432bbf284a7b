"""synthray: diffusion models on chest X-rays, trained and served so that no fault changes the result."""

from importlib.metadata import version

__version__ = version("synthray")
