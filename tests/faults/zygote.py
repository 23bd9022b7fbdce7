"""A process that has everything loaded and forks those that faults happen to: importing takes a second each.

Run as ``python zygote.py`` with the shim preloaded; requests and answers are lines of JSON. It holds no index
open and runs no threads, as neither survives a fork.
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

CREATE, WRITE, SYNC, TRUNCATE, RENAME, REMOVE, MAKE = (1 << bit for bit in range(7))
FAIL, SHORT, KILL = 1, 2, 3


def _child(request):
    """Run a job; what it prints to its diary is all that it leaves."""
    from jobs import JOBS, Diary

    shim = ctypes.CDLL(None)
    fault = request.get("fault")
    diary = Diary(request["diary"], shim.faults_mark)
    if fault or request["record"]:
        shim.faults_watch(os.fsencode(request.get("watch", request["folder"])))
    if request["record"]:
        record = os.open(request["record"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        shim.faults_record(record)
    if fault:
        shim.faults_arm(*fault)
    try:
        JOBS[request["job"]](request["folder"], diary, **request["arguments"])
    except Exception as error:  # noqa: BLE001
        diary.failed(error)
        if os.environ.get("FAULTS_TRACE"):
            traceback.print_exc(file=sys.stderr)
    if fault or request["record"]:
        Path(request["diary"] + ".count").write_text(str(shim.faults_count()))


def _answer(requests):
    """Fork one process for each request, and wait for all; a request's ``kill`` is its time to live."""
    children = []
    for request in requests:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                _child(request)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    began = time.monotonic()
    for pid, request in sorted(
        zip(children, requests, strict=True), key=lambda pair: pair[1].get("kill") or 0.0
    ):
        if request.get("kill") is not None:
            time.sleep(max(0.0, began + request["kill"] - time.monotonic()))
            os.kill(pid, signal.SIGKILL)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]


def main():
    """Serve until the standard input ends."""
    from jobs import warm_up

    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
