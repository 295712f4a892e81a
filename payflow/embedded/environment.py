"""Settings of the process environment: .env, the user's own servers, the embedded ones."""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from . import redis
from .console import Problem, say
from .postgres import Postgres, without_libpq_variables
from .processes import Signals
from .state import State
from .supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]

ANSWER_LIMIT = 3.0
"""Seconds a server of the user's gets to answer: it may have been started a moment before us."""

SHELL = "PAYFLOW_SHELL"
"""In a shell that has read `.payflow/env`: what it was told there, as JSON."""

Environment = dict[str, str]


def process_environment() -> Environment:
    """The user's own, with the virtual environment's commands first and no delay in what the children write."""
    programs = Path(sys.executable).parent
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return own_environment(os.environ) | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def own_environment(environment: Mapping[str, str]) -> Environment:
    """Without what a shell has from `.payflow/env`: that is the database of a ./run, and no test may write there.

    What was set anew in that shell is the user's own again.
    """
    told = json.loads(environment.get(SHELL) or "{}")
    return {name: value for name, value in environment.items() if name != SHELL and told.get(name) != value}


def read_dotenv(path: Path) -> Environment:
    """KEY=VALUE lines, with or without `export` and quotes. No expansion."""
    values: Environment = {}
    if not path.exists():
        return values
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or name.startswith("#"):
            continue
        if value[:1] in ("'", '"') and value[0] in value[1:]:
            value = value[1:].split(value[0])[0]
        else:
            value = value.split(" #")[0].strip()
        values[name] = value
    return values


def start_servers(
    environment: Mapping[str, str], state: State, supervisor: Supervisor, signals: Signals, *, throwaway: bool = False
) -> Environment:
    """PostgreSQL and Redis, each the user's or embedded. Returns what the children must be told."""
    told: Environment = {}
    for name in ("DATABASE_URL", "REDIS_URL"):
        if url := environment.get(name):
            require_answer(name, url, signals)

    if not environment.get("DATABASE_URL"):
        postgres = Postgres(state, throwaway=throwaway)
        if throwaway:
            supervisor.at_end.append(postgres.remove)
        supervisor.start_server(postgres)
        told["DATABASE_URL"] = postgres.url
        say(f"postgres is ready (data in {postgres.data})")

    if environment.get("REDIS_URL"):
        return told
    if program := redis.find_program():
        server = redis.Redis(state, program, throwaway=throwaway)
        supervisor.start_server(server)
        told["REDIS_URL"] = server.url
        told["CELERY_BROKER_URL"] = environment.get("CELERY_BROKER_URL") or server.broker_url
        say("redis is ready")
    else:
        # Enough for a look at the product: tasks start up to a second late, rate limits count per process.
        say("WARNING: no Redis for this platform: tasks go through files. Set REDIS_URL for anything but a try-out")
        told["REDIS_URL"] = ""
        told["CELERY_BROKER_URL"] = environment.get("CELERY_BROKER_URL") or "filesystem://"
        told["PAYFLOW_BROKER_DIR"] = str(state.empty_folder("broker"))
    return told


def for_children(environment: Environment, told: Mapping[str, str]) -> Environment:
    """PGHOST and the like, in the user's shell, must not redirect the product away from the embedded database."""
    base = without_libpq_variables(environment) if "DATABASE_URL" in told else environment
    return {**base, **told}


def require_answer(name: str, url: str, signals: Signals) -> None:
    """Raises Problem unless something listens there. Says where, never the password in the URL."""
    address = _address(name, url)
    where = address if isinstance(address, str) else "{}:{}".format(*address)
    deadline = time.monotonic() + ANSWER_LIMIT
    while True:
        signals.check()
        try:
            _connect(address)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Problem(f"nothing answers at {name} ({where}): {error.strerror or error}") from error
        signals.sleep(0.2)


def _address(name: str, url: str) -> str | tuple[str, int]:
    """A socket's path, or host and port."""
    try:
        parts = urlsplit(url)
        database = name == "DATABASE_URL"
        host, port = unquote(parts.hostname or ""), parts.port or (5432 if database else 6379)
    except ValueError as error:
        raise Problem(f"{name} is no URL: {error}") from error
    if database:
        query = parse_qs(parts.query)
        host = query.get("host", [host])[0] or "localhost"
        port = int(query.get("port", [str(port)])[0])
        return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
    return unquote(parts.path) if parts.scheme in ("unix", "redis+socket") else (host or "localhost", port)


def _connect(address: str | tuple[str, int]) -> None:
    if isinstance(address, str):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(address)
    else:
        socket.create_connection(address, timeout=2).close()
