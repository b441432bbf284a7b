"""The command line: thin, and light to import.

Each command parses its arguments, calls one room of the house and prints. Torch, Ray, s3fs and NumPy are
imported inside the commands that need them, so that `synthray --help` answers at once.
"""

from synthray.cli.entry import main

__all__ = ["main"]
