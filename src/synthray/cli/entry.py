"""From the shell to a command and back to an exit code.

Foreseen failures become one line on standard error and their exit code; a traceback means a defect of ours.
"""

import errno
import logging
import os
import sys
from typing import NoReturn

import typer
from rich.logging import RichHandler

from synthray.cli import (
    checkpoints,
    crd,
    data,
    debugging,
    driver,
    generation,
    logs,
    operator,
    serving,
    storage,
    top,
    training,
)
from synthray.cli.output import EXIT_INTERRUPTED, people
from synthray.errors import InvalidInput, Reason, SynthrayError, Unavailable

app = typer.Typer(
    name="synthray",
    help="Train diffusion models on chest X-rays so that no fault and no resize changes the result.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data.register(app)
training.register(app)
driver.register(app)
checkpoints.register(app)
logs.register(app)
generation.register(app)
serving.register(app)
storage.register(app)
operator.register(app)
debugging.register(app)
crd.register(app)
top.register(app)


def main() -> NoReturn:
    """The console script."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_log_handler()])
    logging.getLogger("synthray").setLevel(logging.INFO)
    sys.exit(run(sys.argv[1:]))


def _log_handler() -> logging.Handler:
    """Log lines for people, on the console that also shows progress, so that neither tears the other."""
    handler = RichHandler(console=people, show_time=False, show_level=False, show_path=False, keywords=[])
    # What it tells is on the console already, as a bar; it is for the log that is kept.
    handler.addFilter(lambda record: record.name != "synthray.training.head_log")
    return handler


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        result = typer.main.get_command(app)(
            args=arguments or ["--help"], prog_name="synthray", standalone_mode=False
        )
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _complain(InvalidInput(f"{error.format_message()} See synthray --help."))
    except BrokenPipeError:
        # The reader of our output went away: nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SynthrayError, ModuleNotFoundError, OSError) as error:
        return _complain(_foreseen(error))
    return result if isinstance(result, int) else 0


def _foreseen(error: SynthrayError | ModuleNotFoundError | OSError) -> SynthrayError:
    """The failure in our terms; what nobody foresaw is raised again and keeps its traceback."""
    if isinstance(error, SynthrayError):
        return error
    return _missing_extra(error) if isinstance(error, ModuleNotFoundError) else _foreseen_os_error(error)


def _complain(error: SynthrayError) -> int:
    print(f"synthray: {error.message}", file=sys.stderr)
    return error.exit_code


def _missing_extra(error: ModuleNotFoundError) -> SynthrayError:
    """A part of the installation that this command needs and that was left out."""
    if error.name is None or error.name.startswith("synthray"):
        raise error
    message = f"this command needs the package {error.name}; install it with: pip install 'synthray[train]'"
    return InvalidInput(message, reason=Reason.DEPENDENCY_MISSING)


def _foreseen_os_error(error: OSError) -> SynthrayError:
    """A disk that is full or can't be written to; anything else is a defect and keeps its traceback."""
    where = error.filename or "the disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"{where}: no space left; free some and run the same command again", reason=Reason.STORAGE_FULL
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return InvalidInput(f"{where}: {error.strerror}; choose a place that this user can write to")
    raise error
