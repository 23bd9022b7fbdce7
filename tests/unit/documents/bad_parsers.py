"""Parsers that misbehave, run in a worker's process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def misbehave(request):
    """Does what the file's text says."""
    said = Path(request["path"]).read_text().split()
    match said[0]:
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "once":
            if (mark := Path(said[1])).exists():
                mark.unlink()
                os._exit(3)
        case "spin":
            while True:
                pass
        case "sleep":
            time.sleep(60)
        case "eat":
            held = [bytearray(1 << 20) for _ in range(1 << 13)]
            yield {"text": str(len(held))}
        case "print":
            print("noise", flush=True)
            os.write(1, b"noise")
        case "raise":
            raise KeyError("who?")
        case "many":
            for i in range(1000):
                yield {"text": str(i)}
            return
    yield {"text": " ".join(said)}
