"""The commands by their names, and what becomes of errors: a message on stderr and an exit status."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from cyclopts import App

from eventpub.cli import output
from eventpub.exceptions import ConfigurationError, EventPubError, UsageError

FINE, FAILED, WRONG_USAGE = 0, 1, 2

_EPILOGUE = """
[bold]First steps[/]
  eventpub broker --topic tasks      # a broker to play with: leave it running
  export EVENTPUB_BOOTSTRAP_SERVERS=127.0.0.1:9092 EVENTPUB_SOURCE=/me
  echo '{"title": "Write docs"}' |
    eventpub publish --type task.created --topic tasks

[bold]Connection[/]
  Commands read EVENTPUB_BOOTSTRAP_SERVERS and its siblings from the
  environment, from a file .env and from the directory EVENTPUB_SECRETS_DIR,
  or take your application's publisher: --app module:name.
  No command takes a password.

[bold]Exit status[/]
  0 all is well, 1 something failed and was named, 2 wrong usage or settings
"""

app = App(
    name="eventpub",
    help="Publish events to Kafka, know what became of each, and look after those that did not arrive.",
    help_format="rich",
    help_epilogue=_EPILOGUE,
    version=lambda: metadata.version("eventpub"),
    default_parameter=output.PARAMETER,
)
app.register_install_completion_command(help="Install completion for your shell (bash, zsh, fish, powershell).")

# By import strings: a command's module is imported when it is called, and not for `--help`.
for _name, _help in (
    ("broker", "Run a broker with Kafka's protocol in this terminal, for development."),
    ("publish", "Publish lines of JSON as events, and say of each what became of it."),
    ("check", "Say what would go wrong in production, before it does."),
    ("dlq", "Look after dead letters: list, show, replay, export, purge."),
):
    app.command(f"eventpub.cli.{_name}:app", name=_name, help=_help)


def run(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* name; return its exit status. Wrong arguments exit at once, with 2."""
    # What the library would log, a command tells. Without a handler, Python would print it as well.
    logging.getLogger("eventpub").addHandler(logging.NullHandler())
    try:
        status: int = app(arguments, result_action="return_int_as_exit_code_else_zero")
    except (ConfigurationError, UsageError) as error:
        return _complain(error, WRONG_USAGE)
    except (EventPubError, OSError) as error:
        return _complain(error, FAILED)
    return status


def _complain(error: Exception, status: int) -> int:
    if isinstance(error, BrokenPipeError):  # `| head` has seen enough; the flush at exit would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status
    for line in _text(error).splitlines():
        output.complain(line)
    return status


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
