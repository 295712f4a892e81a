"""`./run`: the whole product on one machine, until Ctrl-C."""

import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .console import Problem, complain, last_lines, say, show
from .environment import (
    ROOT,
    SHELL,
    Environment,
    for_children,
    own_environment,
    process_environment,
    read_dotenv,
    start_servers,
)
from .processes import Signals, StopRequested, describe_exit, run_once
from .state import State, write_private
from .supervisor import Service, Supervisor

READY_LIMIT = 90.0
"""Seconds until /health/ready must answer 200. It takes two or three; a busy small machine takes longer."""

DEMO_PASSWORD = "payflow-demo"


def run() -> int:
    signals = Signals()
    supervisor = Supervisor(signals)
    state: State | None = None
    try:
        environment = read_dotenv(ROOT / ".env") | process_environment()
        host, port = listening_address(environment)
        state = State(ROOT / (environment.get("PAYFLOW_STATE_DIR") or ".payflow"), signals)
        require_free_port(host, port)
        emulator_port = None if environment.get("LAVA_API_KEY") else free_port()
        environment |= defaults(environment, state, port) | emulated_lava(emulator_port)
        environment = for_children(environment, start_servers(environment, state, supervisor, signals))
        write_shell_file(state, environment)
        set_up_database(environment, state, signals)
        start_children(environment, state, supervisor, host, port, emulator_port)
        wait_until_ready(supervisor, signals, host, port)
        show_banner(environment, state, host, port)
        while True:
            supervisor.tend()
            signals.sleep(0.2)
    except StopRequested:
        say("stopping")
        return 0
    except Problem as problem:
        complain(problem)
        return 1
    finally:
        supervisor.stop()
        if state:
            state.close()
        if supervisor.servers or supervisor.children:
            say("stopped")


def listening_address(environment: Environment) -> tuple[str, int]:
    port = environment.get("PORT") or "8000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise Problem(f"PORT is {port!r}: a number from 1 to 65535 is wanted")
    return environment.get("HOST") or "127.0.0.1", int(port)


def require_free_port(host: str, port: int) -> None:
    """Asked before anything starts: granian shares a port gladly, and we would be talking to somebody else's server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Problem(f"cannot listen on {host}:{port} ({error.strerror}): set PORT to a free one") from error


def defaults(environment: Environment, state: State, port: int) -> Environment:
    """What a newcomer need not set. Anything given, in .env or the real environment, stays."""
    address = f"http://127.0.0.1:{port}"
    values = {
        "DJANGO_SETTINGS_MODULE": "payflow.settings.dev",
        "SECRET_KEY": state.secret_key(),
        "PAYFLOW_BASE_URL": address,
        "APP_URL": address,
        "PAYFLOW_ADMIN_EMAIL": "operator@payflow.local",
        "PAYFLOW_ADMIN_PASSWORD": DEMO_PASSWORD,
    }
    return {name: value for name, value in values.items() if not environment.get(name)}


def emulated_lava(port: int | None) -> Environment:
    """The demo's stand-in for the foreign provider, with keys that are worth nothing elsewhere."""
    if port is None:
        return {}
    return {
        "LAVA_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "LAVA_API_KEY": secrets.token_urlsafe(24),
        "LAVA_SECRET_KEY": secrets.token_urlsafe(24),
    }


def free_port() -> int:
    """Free now; nothing reserves it until its server starts, within seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_shell_file(state: State, environment: Environment) -> None:
    """`. .payflow/env` gives a shell in which manage.py works on the running database."""
    own = own_environment(os.environ)
    told = {name: environment[name] for name in sorted(environment) if own.get(name) != environment[name]}
    told.pop("PATH", None)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in (told | {SHELL: json.dumps(told)}).items()]
    write_private(state.path / "env", "".join(lines))


def set_up_database(environment: Environment, state: State, signals: Signals) -> None:
    say("migrating the database")
    log = state.log("migrate")
    with log.open("wb") as output:
        command = [sys.executable, "manage.py", "migrate", "--noinput"]
        status = run_once(command, environment=environment, signals=signals, folder=ROOT, output=output)
    if status != 0:
        raise Problem(f"manage.py migrate failed ({describe_exit(status)}), see {log}\n{last_lines(log, 15)}")
    say("looking for data, making the demo's if there is none")
    command = [sys.executable, "manage.py", "seed", "--if-empty"]
    status = run_once(command, environment=environment, signals=signals, folder=ROOT)
    if status != 0:
        raise Problem(f"manage.py seed --if-empty failed ({describe_exit(status)})")


def start_children(
    environment: Environment, state: State, supervisor: Supervisor, host: str, port: int, emulator_port: int | None
) -> None:
    # Emptied: the numbers of the processes of the last run would be counted again.
    environment = environment | {"PROMETHEUS_MULTIPROC_DIR": str(state.empty_folder("prometheus"))}

    def start(name: str, arguments: Sequence[str | Path], death_signal: int = signal.SIGTERM) -> None:
        argv: list[str | Path] = [sys.executable, "-m", *arguments]
        log = state.log(name)
        child = Service(name, argv, log=log, environment=environment, folder=ROOT, death_signal=death_signal)
        child.keep_open = [state.lock]
        supervisor.start_child(child)

    if emulator_port:
        start("lava", ["tests.emulators.lava", "--port", str(emulator_port)])
    web = ["granian", "--interface", "wsgi", "payflow.wsgi:application", "--host", host, "--port", str(port)]
    web += ["--workers", "1", "--blocking-threads", "16", "--respawn-failed-workers", "--workers-kill-timeout", "5s"]
    start("web", web)
    # Killed at our death: on SIGTERM it would wait for tasks whose database is gone. The broker delivers them again.
    worker = ["celery", "-A", "payflow", "worker", "--concurrency", "2", "--loglevel", "WARNING"]
    start("worker", worker, signal.SIGKILL)
    schedule = state.path / "celerybeat-schedule"
    start("beat", ["celery", "-A", "payflow", "beat", "--schedule", schedule, "--loglevel", "WARNING"])


def wait_until_ready(supervisor: Supervisor, signals: Signals, host: str, port: int) -> None:
    deadline = time.monotonic() + READY_LIMIT
    answer = ""
    while (answer := ask_health(host, port)) != "200":
        supervisor.tend()
        if time.monotonic() > deadline:
            web = next(child for child in supervisor.children if child.name == "web")
            raise Problem(
                f"the web server is not ready after {READY_LIMIT:.0f} s: GET /health/ready gave {answer}; "
                f"see {web.log}\n{web.end_of_log(15)}"
            )
        signals.sleep(0.1)


def ask_health(host: str, port: int) -> str:
    """The status, or why there is none. By http.client: a proxy in the environment must not be asked for our own."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({error})"
    finally:
        connection.close()


def reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def show_banner(environment: Environment, state: State, host: str, port: int) -> None:
    name = f"[{reachable(host)}]" if ":" in host else reachable(host)
    address = f"http://{name}:{port}"
    password = environment["PAYFLOW_ADMIN_PASSWORD"]
    shown = password if password == DEMO_PASSWORD else "(your PAYFLOW_ADMIN_PASSWORD)"
    try:
        folder = state.path.relative_to(Path.cwd())
    except ValueError:
        folder = state.path
    say("ready")
    show(f"""
  PayFlow           {address}/
  Operators         {address}/admin/
                    {environment["PAYFLOW_ADMIN_EMAIL"]}  {shown}
  API               {address}/api/docs/

  Logs              {folder}/logs/
  Commands          . {shlex.quote(str(folder / "env"))} && .venv/bin/python manage.py help
  Ctrl-C stops everything; the data stays in {folder}/
""")
    if not host.startswith("127.") and host != "::1" and password == DEMO_PASSWORD:
        say("WARNING: other machines can reach this and its operator has the demo's password")
