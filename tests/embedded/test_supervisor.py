"""The start-up part, with real servers and real processes. No Django: these run on any machine with the wheels."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

REPOSITORY = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("driver.py")
MAIN = REPOSITORY / "payflow/embedded/__main__.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the embedded servers' care for processes is Linux's")

SHOW_URLS = 'echo "DATABASE_URL=$DATABASE_URL"; echo "REDIS_URL=$REDIS_URL"; echo "BROKER=$CELERY_BROKER_URL"'


def clean_environment(**extra: str) -> dict[str, str]:
    """Without the servers that ./test itself offers: these tests start their own."""
    names = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "PAYFLOW_STATE_DIR", "PORT", "HOST")
    return {name: value for name, value in os.environ.items() if name not in names} | extra


class Driven:
    """A started driver whose output is read until something appears in it."""

    def __init__(self, output: Path, *argv: str | Path, **environment: str) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *argv],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=clean_environment(**environment),
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, expected: str, seconds: float = 20) -> str:
        wait_until(lambda: expected in self.text() or self.process.poll() is not None, seconds)
        assert expected in self.text()
        return self.text()

    def ended(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def pids(self) -> list[int]:
        """The supervisor's and its children's."""
        line = next(line for line in self.wait_for("] pids ").splitlines() if "] pids " in line)
        return [int(pid) for pid in line.split("] pids ")[1].split()]


Start = Callable[..., Driven]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Driven] = []

    def begin(*argv: str | Path, **environment: str) -> Driven:
        driven = Driven(tmp_path / f"output-{len(started)}", *argv, **environment)
        started.append(driven)
        return driven

    yield begin
    for driven in started:
        if driven.process.poll() is None:
            driven.process.terminate()
            driven.ended()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """A zombie has ended: who reaps orphans is the container's affair."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def urls(output: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.splitlines() if line.startswith(("DATABASE", "REDIS", "BROKER")))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose sockets need no shorter one elsewhere, whatever pytest calls its own."""
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:
        yield Path(folder)


def test_a_command_gets_both_servers_and_its_exit_status_is_ours(short_path: Path, start: Start) -> None:
    program = (
        "import os, psycopg, redis;"
        "connection = psycopg.connect(os.environ['DATABASE_URL']);"
        "row = connection.execute('select current_database(), current_user').fetchone();"
        "print('database', *row, redis.from_url(os.environ['REDIS_URL']).ping())"
    )
    driven = start(
        DRIVER, short_path / "state", "once", f'{SHOW_URLS}; python -c "{program}"; exit 7', PGHOST="nowhere"
    )

    assert driven.ended() == 7
    assert "database payflow payflow True" in driven.text()
    told = urls(driven.text())
    assert told["REDIS_URL"] == f"unix://{short_path}/state/sockets/redis.sock?db=0"
    assert told["BROKER"] == f"redis+socket://{short_path}/state/sockets/redis.sock?virtual_host=1"


def test_killing_the_supervisor_takes_everything_along_and_the_data_stays(tmp_path: Path, start: Start) -> None:
    first = start(DRIVER, tmp_path / "state", "forever", f"{SHOW_URLS}; exec sleep 600")
    pids = first.pids()
    log = tmp_path / "state/logs/child.log"
    wait_until(lambda: "BROKER" in log.read_text(), 5)
    told = urls(log.read_text())
    with psycopg.connect(told["DATABASE_URL"]) as connection:
        connection.execute("create table kept (word text)")
        connection.execute("insert into kept values ('here')")
    redis.from_url(told["REDIS_URL"]).set("kept", "here")
    time.sleep(1.1)  # Redis syncs its file once a second

    first.process.kill()
    first.ended()
    # At once: the new start waits until the old servers have let go.
    second = start(DRIVER, tmp_path / "state", "forever", "exec sleep 600")
    second.pids()

    assert [pid for pid in pids if is_running(pid)] == []
    with psycopg.connect(told["DATABASE_URL"]) as connection:
        assert connection.execute("select word from kept").fetchall() == [("here",)]
    assert redis.from_url(told["REDIS_URL"]).get("kept") == b"here"


def test_two_state_folders_side_by_side_and_one_folder_only_once(tmp_path: Path, start: Start) -> None:
    # A long path with a space: the sockets move to /tmp, the URL stays plain.
    awkward = tmp_path / ("a folder with a very long name " * 3).strip()
    one = start(DRIVER, tmp_path / "one", "forever", "exec sleep 600")
    two = start(DRIVER, awkward, "forever", f"{SHOW_URLS}; exec sleep 600")
    pids = [*one.pids(), *two.pids()]
    again = start(DRIVER, tmp_path / "one", "once", "true")

    assert again.ended() == 1
    assert f"payflow: already running on {tmp_path}/one (process {pids[0]})" in again.text()
    assert all(is_running(pid) for pid in pids)
    wait_until(lambda: "BROKER" in (awkward / "logs/child.log").read_text(), 5)
    told = urls((awkward / "logs/child.log").read_text())
    sockets = Path(told["DATABASE_URL"].split("host=")[1])
    assert sockets.parent == Path("/tmp")
    assert sockets.stat().st_mode & 0o777 == 0o700

    two.process.send_signal(signal.SIGINT)
    assert two.ended() == 0
    assert not sockets.exists()


def test_a_dead_child_is_restarted_but_not_for_ever(tmp_path: Path, start: Start) -> None:
    driven = start(DRIVER, tmp_path / "state", "without-servers", "echo started; exit 3")

    assert driven.ended() == 1
    assert (tmp_path / "state/logs/child.log").read_text().count("started") == 6
    assert "child ended (exit status 3)" in driven.text()
    assert "child was restarted 5 times within 60 s and died again: stopping everything" in driven.text()


def test_a_killed_server_comes_back(tmp_path: Path, start: Start) -> None:
    driven = start(DRIVER, tmp_path / "state", "forever", f"{SHOW_URLS}; exec sleep 600")
    _, postgres, redis_server, child = driven.pids()
    log = tmp_path / "state/logs/child.log"
    wait_until(lambda: "BROKER" in log.read_text(), 5)
    for pid in (postgres, redis_server):
        os.kill(pid, signal.SIGKILL)

    url = urls(log.read_text())["DATABASE_URL"]
    wait_until(lambda: driven.text().count("restarting it (1 of 5)") == 2, 10)
    wait_until(lambda: answers(url), 10)
    assert is_running(child)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to change")
def test_root_without_user_namespaces_runs_postgres_as_nobody(tmp_path: Path, start: Start) -> None:
    driven = start(DRIVER, tmp_path / "state", "forever", f"{SHOW_URLS}; exec sleep 600", PAYFLOW_PG_MODE="setuid")
    postgres = driven.pids()[1]
    log = tmp_path / "state/logs/child.log"
    wait_until(lambda: "BROKER" in log.read_text(), 5)
    sockets = Path(urls(log.read_text())["DATABASE_URL"].split("host=")[1])
    try:
        assert Path(f"/proc/{postgres}").stat().st_uid == 65534
        assert (sockets.stat().st_uid, sockets.stat().st_mode & 0o777) == (65534, 0o700)
        assert sockets.parent.stat().st_uid == 0
    finally:
        driven.process.terminate()
        driven.ended()
        shutil.rmtree(sockets.parent)
        with contextlib.suppress(OSError):
            sockets.parent.parent.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)

    driven = start(DRIVER, folder, "once", "true")

    assert driven.ended() == 1
    assert f"payflow: {folder} belongs to user 65534 and you are user 0" in driven.text()
    assert list(folder.iterdir()) == []


def test_run_says_when_its_port_is_taken_and_starts_nothing(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        driven = start(MAIN, "run", PORT=str(port), PAYFLOW_STATE_DIR=str(tmp_path / "state"))
        assert driven.ended() == 1

    assert driven.text().splitlines() == [
        f"payflow: cannot listen on 127.0.0.1:{port} (Address already in use): set PORT to a free one"
    ]


def test_run_says_which_server_does_not_answer_and_keeps_the_password(tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    url = f"x://user:hidden@127.0.0.1:{port}/0"
    started = {
        name: start(MAIN, "run", **{"PORT": port, "PAYFLOW_STATE_DIR": str(tmp_path / name), name: url})
        for name in ("DATABASE_URL", "REDIS_URL")
    }

    for name, driven in started.items():
        assert driven.ended() == 1
        assert driven.text() == f"payflow: nothing answers at {name} (127.0.0.1:{port}): Connection refused\n"
