"""Documents whose passages follow from id and version alone; states are lists of these, as in `model`."""

import json

import numpy as np
from model import DIM, vectors

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.documents import Passage
from lfm2_retrieval.indexes import Index, StoredDocument

SETTING = {"tokens": 64, "overlap": 0, "headings": True}
N_VERSIONS = 6


def parts(id, version):
    """The texts of a document's passages: one to four, of which the first is that of all versions."""
    first = f"the beginning of {id}. "
    return [first, *(f"part {number} of {id} in version {version}. " * 9 for number in range(version % 4))]


def passages(id, version):
    """The passages, one behind the other."""
    found, at = [], 0
    for number, text in enumerate(parts(id, version), 1):
        found.append(Passage(id, number, at, at + len(text), text, (id,), (id,)))
        at += len(text)
    return found


def stored(id, version):
    """The document."""
    return StoredDocument(id, "".join(parts(id, version)), {"version": version}, {"source": f"/{id}"})


def packed(texts):
    """The vectors of passages."""
    found = [vectors(text, 0) for text in texts]
    offsets = np.cumsum([0, *map(len, found)]).astype(np.int64)
    return TokenEmbeddings(np.concatenate(found), offsets)


def put(writer, id, version, before=None):
    """Put a document; the beginning of one that is there stays with its vectors."""
    own = passages(id, version)
    kept = {} if before is None else {f"{id}#1": own[0]}
    opened = writer.put_document(stored(id, version), kept)
    new = own[1:] if kept else own
    if new:
        writer.add_passages(opened, new, packed([one.text for one in new]))


def make(folder, state):
    """An index of them."""
    with Index.create(folder, DIM, passages=SETTING) as index, index.writer() as writer:
        for id, version in state:
            put(writer, id, version)


def check(folder):
    """The state of an index, of which every document has its passages, each with its text and vectors."""
    state = []
    with Index.open(folder) as index:
        index.verify()
        n_passages = 0
        for document in index.sources.documents():
            version = document.metadata["version"]
            state.append((document.id, version))
            wanted = passages(document.id, version)
            assert document.text == "".join(parts(document.id, version))
            held = index.sources.held(document.id).passages
            assert [entry.passage.number for entry in held] == [one.number for one in wanted]
            assert [entry.text for entry in held] == [one.text for one in wanted]
            found = index.embeddings([entry.id for entry in held])
            expected = packed([one.text for one in wanted])
            assert found.offsets.tolist() == expected.offsets.tolist()
            assert np.abs(found.embeddings - expected.embeddings).max() < 1 / 64
            n_passages += len(wanted)
        assert len(index) == n_passages
        assert json.loads(json.dumps(index.sources.ids())) == [id for id, _ in state]
    return sorted(state)
