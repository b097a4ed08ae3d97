"""The command `refilm`: parses arguments, calls the package, and prints results and errors."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback

from cyclopts import App, CycloptsError, Parameter

import refilm
from refilm.cli import compress, data, detect, export, learn, look, make, morph, recognize, web
from refilm.cli.events import print_error
from refilm.errors import DONE, FAILED, INTERRUPTED, WRONG_USAGE, RefilmError, UsageError

app = App(
    name="refilm",
    version=lambda: refilm.__version__,
    help="Make video better. Sound, subtitles, timing and colour are kept; the same command continues a stopped job.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),  # no --no-... for flags that are off by default
)
make.add_commands(app)
recognize.add_commands(app)
detect.add_commands(app)
morph.add_commands(app)
compress.add_commands(app)
look.add_commands(app)
learn.add_commands(app)
data.add_commands(app)
export.add_commands(app, learn.weights_files)
web.add_commands(app)


def main(arguments: list[str] | None = None) -> None:
    """The entry point of the command. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    if code == INTERRUPTED:
        # without the interpreter's own shutdown, during which threads may still be working on a frame
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run `refilm ARGUMENTS` and return the exit code. Errors that a user can fix are printed without a traceback."""
    _open_standard_streams()
    as_json = "--json" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may not be valid text
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM has the effect of Ctrl-C
    # Otherwise idle OpenMP threads would spin, and take the cores from decoder and encoder. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # "-" by itself would be taken for an option; as a path, the two are the same
    arguments = ["./-" if argument == "-" else argument for argument in arguments]
    try:
        return int(app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or DONE)
    except CycloptsError as error:
        return _fail(f"{error}".strip(), WRONG_USAGE, as_json)
    except UsageError as error:
        return _fail(str(error), WRONG_USAGE, as_json)
    except RefilmError as error:
        return _fail(str(error), FAILED, as_json)
    except KeyboardInterrupt as stopped:
        for impatience in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatience, signal.SIG_IGN)
        kept = "stopped; nothing is kept of a job with a pipe" if "./-" in arguments else str(stopped) or "stopped"
        return _fail(kept, INTERRUPTED, as_json)
    except BrokenPipeError:
        # the reader of our output has ended; without this, the interpreter would report an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(f"{error.filename or 'standard output'}: {error.strerror}", FAILED, as_json)
    except Exception as error:
        traceback.print_exc()
        return _fail(f"this is a fault of refilm's, please report the lines above: {error!r}", FAILED, as_json)


def _open_standard_streams() -> None:
    """Put the null device in the place of standard streams that are closed.

    Otherwise the next files to be opened would take their place, and get what libraries print there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _fail(message: str, code: int, as_json: bool) -> int:
    print_error(message, code, as_json)
    return code


if __name__ == "__main__":
    main()
