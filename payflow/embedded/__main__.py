"""`run` starts the product, `test [pytest arguments]` runs the checks. Called by ./run and ./test at the root."""

import importlib
import os
import sys
from pathlib import Path

USAGE = """usage: ./run            start PayFlow: database, Redis, web, worker, beat
       ./test [ARGS]    run every check that CI runs; with ARGS only pytest ARGS

./run reads .env at the root; the real environment wins. It knows:
  PORT, HOST               where the web server listens (8000, 127.0.0.1)
  PAYFLOW_STATE_DIR        where data and logs are kept (.payflow)
  DATABASE_URL, REDIS_URL  your own servers instead of the embedded ones
  LAVA_API_KEY             your own Lava account instead of the built-in emulator
  PAYFLOW_ADMIN_EMAIL, PAYFLOW_ADMIN_PASSWORD   the demo operator's login"""


def main(arguments: list[str]) -> int:
    open_missing_streams()
    # Loaded as a package of its own, beside `payflow` and not inside it: see the package's docstring.
    folder = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, folder)
    try:
        run_command = importlib.import_module("embedded.run")
        test_command = importlib.import_module("embedded.checks")
    finally:
        sys.path.remove(folder)

    match arguments:
        case ["run"]:
            return int(run_command.run())
        case ["test", *pytest_arguments]:
            return int(test_command.run_checks(pytest_arguments))
        case _:
            print(USAGE)
            return 0 if arguments[1:] in (["-h"], ["--help"]) else 2


def open_missing_streams() -> None:
    """A CI runner may close standard input; without this, the next file we open would become every child's stdin."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
