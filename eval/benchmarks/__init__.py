"""How fast, how small and how right an index is on this machine, beside other systems.

Every system runs in an interpreter of its own (:mod:`.worker`), which answers one request at a time.
"""

from __future__ import annotations

__all__: list[str] = []
