"""The command line: parse, call, print.  The only place that catches HpoError."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

from hpo.cli import streams
from hpo.errors import HpoError, SpecError
from hpo.tune.stop import Stop

_PATIENCE_S = 5
"""From a signal to the end by force, while there is no search that has to be ended in order."""


def main() -> None:
    """Entry point.  Exit codes: 0 done, 1 failed, 2 wrong input, 130, 143, 129 after a signal."""
    os.umask(0o077)  # studies, models and logs are their owner's
    streams.make_safe()
    with Stop(limit_s=_PATIENCE_S) as stop:
        try:
            _call()
        except BaseException as error:
            if stop.signal is None and not isinstance(error, KeyboardInterrupt):
                raise
            print("Interrupted.", file=sys.stderr)
            sys.exit(128 + (stop.signal or signal.SIGINT))
        if stop.signal is not None:
            sys.exit(128 + stop.signal)


def _call() -> None:
    try:
        if sys.flags.optimize > 1:
            raise SpecError(
                "PYTHONOPTIMIZE: 2 removes docstrings, which Ray needs to start: unset it, or set 1"
            )
        from hpo.cli.commands import app  # takes a while: signals are heard before

        try:
            sys.exit(_command(app))
        except SystemExit as end:
            if not end.code:
                streams.check()
            raise
    except streams.OutputError as error:
        if not error.gone:
            _refuse(str(error), error.exit_code)
        sys.exit(0)
    except HpoError as error:
        _refuse(str(error), error.exit_code)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        shown = f"{str(error.filename)[:60]!r}..."
        _refuse(f"path: {shown} is longer than a file's name may be: shorten it", 2)


def _refuse(text: str, code: int) -> None:
    for line in text.splitlines():
        print(f"Error: {line}", file=sys.stderr)
    sys.exit(code)


def __getattr__(name: str) -> Any:
    if name == "app":
        from hpo.cli.commands import app

        return app
    raise AttributeError(f"module 'hpo.cli' has no attribute {name!r}")


def _command(app: Any) -> int:
    """Runs the command; what the parser refuses gets one line with the form that was meant."""
    try:
        code = app(prog_name="hpo", standalone_mode=False)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return 2
        if not hasattr(error, "format_message"):
            if (problem := _of_a_database(error)) is not None:
                raise problem from error
            raise
        from hpo.cli.refusals import line_of

        raise SpecError(line_of(error, sys.argv[1:])) from None
    return code if isinstance(code, int) else 0


def _of_a_database(error: Exception) -> HpoError | None:
    """The line for an error of the database that no command has dealt with; None: it is another."""
    if isinstance(error, HpoError) or "sqlalchemy" not in sys.modules:
        return None
    from hpo.storage.outage import database_error

    return database_error(error)
