"""``eventpub dlq``: look after dead letters."""

from __future__ import annotations

from cyclopts import App

_EPILOGUE = """
  eventpub dlq list --spool app.db                  # what lies there, and why
  eventpub dlq list --spool app.db --each           # with ids
  eventpub dlq show --spool app.db 0199…            # one of them in full
  eventpub dlq replay --spool app.db --dry-run      # what would be sent
  eventpub dlq replay --spool app.db --verify
  eventpub dlq purge --spool app.db --older-than 7d

[bold]May it be replayed?[/]
  safe          it is certainly not in the log
  mend first    likewise, but it was refused, and would be again
  verify first  it may be in the log: a replay leaves it out unless you say
                --verify (look first) or --include-possibly (a second copy,
                with the same event id, does no harm)
  done          it is in the log
"""

app = App(name="dlq", help_epilogue=_EPILOGUE)

for _name, _function, _help in (
    ("list", "list_letters", "Say what lies there, since when, why, and whether it may be replayed."),
    ("show", "show", "Show one letter in full, and what to do next."),
    ("replay", "replay", "Send letters again, each event exactly once, also if this is killed and called again."),
    ("export", "export", "Write letters as lines of JSON, keys and values included."),
    ("purge", "purge", "Remove letters of a spool for good: those whose event is in the log, unless you say --open."),
):
    app.command(f"eventpub.cli.dlq.{_name}:{_function}", name=_name, help=_help)
