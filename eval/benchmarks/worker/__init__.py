"""One system under test, in an interpreter of its own: JSON lines in, JSON lines out.

Run as a script (``python worker/__main__.py SYSTEM``) by whatever interpreter the system is installed in. So
it imports nothing but NumPy and that system, and works on Python 3.9. Requests, each an object with ``do``:

``build``
    ``vectors``, ``offsets`` and, where there are any, ``token_ids``: .npy files of the documents; ``folder``;
    ``options`` of the build. → ``seconds``, ``cpu`` (seconds of all threads), ``bytes`` by part.
``open``
    ``folder``, ``options`` and, for systems that keep no files, ``vectors`` and ``offsets``. → ``{}``
``load``
    ``queries`` and ``query_offsets``: .npy files of what will be asked. → ``{}``
``search``
    ``query``: its number; ``k``; ``options`` of the search; of systems that can filter, ``below``: only
    documents whose number, by `documents.draw`, is smaller. → ``seconds``, ``cpu`` (seconds of all threads),
    ``ids`` (positions, best first), ``scores``.
``memory``
    → ``peak``: bytes resident at most since the process began.

The first line out, unasked, is ``{"version": …}`` or ``{"error": …}``.
"""

from __future__ import annotations

__all__: list[str] = []
