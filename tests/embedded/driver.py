"""A small product on the embedded servers, run by the tests as a process of its own.

usage: driver.py STATE once|forever|without-servers COMMAND
  once             start the servers, run the shell command, end with its exit status
  forever          start the servers and keep the shell command running
  without-servers  only keep the command running
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "payflow"))

from embedded.console import Problem, complain, say
from embedded.environment import ROOT, for_children, process_environment, start_servers
from embedded.processes import Signals, StopRequested, run_once
from embedded.state import State
from embedded.supervisor import Service, Supervisor


def main(folder: str, how: str, command: str) -> int:
    if sys.platform == "linux":  # a killed pytest leaves nothing behind
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    signals = Signals()
    supervisor = Supervisor(signals)
    state = None
    try:
        state = State(Path(folder), signals)
        environment = process_environment()
        if how != "without-servers":
            environment = for_children(environment, start_servers(environment, state, supervisor, signals))
        argv = ["/bin/sh", "-c", command]
        if how == "once":
            return run_once(argv, environment=environment, signals=signals, folder=ROOT)
        child = Service("child", argv, log=state.log("child"), environment=environment)
        child.keep_open = [state.lock]
        supervisor.start_child(child)
        say(f"pids {os.getpid()} {' '.join(str(service.process.pid) for service in supervisor.all())}")
        while True:
            supervisor.tend()
            signals.sleep(0.02)
    except StopRequested:
        return 0
    except Problem as problem:
        complain(problem)
        return 1
    finally:
        supervisor.stop()
        if state:
            state.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
