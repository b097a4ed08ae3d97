"""The command `refilm`: parses arguments, calls the package, and prints results and errors."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import refilm
from refilm.cli import learn, look, make
from refilm.errors import DONE, FAILED, INTERRUPTED, WRONG_USAGE, RefilmError, UsageError

app = App(
    name="refilm",
    version=refilm.__version__,
    help="Make video better. Sound, subtitles, timing and colour are kept; the same command continues a stopped job.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),  # no --no-... for flags that are off by default
)
make.add_commands(app)
look.add_commands(app)
learn.add_commands(app)


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
    as_json = "--json" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may not be valid text
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM has the effect of Ctrl-C
    # Otherwise idle OpenMP threads would spin, and take the cores from decoder and encoder. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return int(app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or DONE)
    except CycloptsError as error:
        return _fail(f"{error}".strip(), WRONG_USAGE, as_json)
    except UsageError as error:
        return _fail(str(error), WRONG_USAGE, as_json)
    except RefilmError as error:
        return _fail(str(error), FAILED, as_json)
    except KeyboardInterrupt:
        for impatience in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatience, signal.SIG_IGN)
        return _fail("stopped; run the same command again to go on from here", INTERRUPTED, as_json)
    except BrokenPipeError:
        # the reader of our output has ended; without this, the interpreter would report an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", FAILED, as_json)
    except Exception as error:
        traceback.print_exc()
        return _fail(f"this is a fault of refilm's, please report the lines above: {error!r}", FAILED, as_json)


def _fail(message: str, code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"event": "error", "message": message, "exit_code": code}), flush=True)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"refilm: {message}", markup=False, style="red")
    return code


if __name__ == "__main__":
    main()
