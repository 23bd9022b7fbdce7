"""What an index must hold: documents that follow from id and version alone, and states as lists of these.

A state is ``[(id, version), …]`` in order of insertion; it goes through JSON.
"""

import zlib

import numpy as np

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.datatypes import SearchParams

DIM = 16
State = list[tuple[str, int]]


def vectors(id, version):
    """float32 ``[1 to 6, DIM]``, unit length; ids that begin with "long" have 80."""
    rng = np.random.default_rng(zlib.crc32(f"{id} {version}".encode()))
    found = rng.standard_normal((80 if id.startswith("long") else int(rng.integers(1, 7)), DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def text(id, version):
    """Some pages of SQLite now and then, none now and then."""
    return None if version % 7 == 6 else f"{id} in version {version} " * (300 if version % 5 == 4 else 3)


def metadata(id, version):
    """Enough to filter by."""
    return {"id": id, "version": version}


def pack(state):
    """The vectors of a state's documents."""
    parts = [vectors(*one) for one in state]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return TokenEmbeddings(np.concatenate([np.empty((0, DIM), np.float32), *parts]), offsets)


def columns(state):
    """The arguments of ``add``: ids, vectors, texts, metadata."""
    return (
        [id for id, _ in state],
        pack(state),
        [text(*one) for one in state],
        [metadata(*one) for one in state],
    )


def held(index, tolerance=1 / 64):
    """The state that an index is in, its texts and metadata checked, and each document's vectors."""
    ids = index.ids()
    entries = index.get_many(ids)
    state = [(entry.id, entry.metadata["version"]) for entry in entries]
    assert [id for id, _ in state] == ids
    for one, entry in zip(state, entries, strict=True):
        assert (entry.text, entry.metadata) == (text(*one), metadata(*one))
    assert len(index) == len(ids)
    stored = index.embeddings(ids)
    expected = pack(state)
    assert stored.offsets.tolist() == expected.offsets.tolist()
    assert np.abs(stored.embeddings - expected.embeddings).max(initial=0) < tolerance  # an int8 step
    return state, stored


def check_search(index, state, stored, k=10):
    """Exact hits are those of a plain MaxSim on what is stored; the fast ones are true hits, too."""
    query = vectors("query", len(state))
    scores = {
        id: float(np.float32((query.astype(np.float64) @ stored[i].astype(np.float64).T).max(1).sum()))
        for i, (id, _) in enumerate(state)
    }
    expected = sorted(scores.items(), key=lambda pair: -pair[1])[:k]
    asked = TokenEmbeddings(query, np.array([0, len(query)]))
    found = index.search(asked, SearchParams(k, exact=True))[0]
    # Decoded vectors are rounded to float32 here, and not there.
    assert np.allclose([hit.score for hit in found], [score for _, score in expected], atol=1e-5)
    for hit in (*found, *index.search(asked, k)[0]):
        assert abs(hit.score - scores[hit.id]) < 1e-5
    assert len(index.search(asked, k)[0]) == len(expected)


def check(index, states):
    """The index is in one of these states, in every respect; which."""
    state, stored = held(index)
    assert state in [[tuple(one) for one in known] for known in states], (
        f"{len(state)} documents, expected one of {[len(known) for known in states]}: {state}"
    )
    check_search(index, state, stored)
    index.verify()
    return state
