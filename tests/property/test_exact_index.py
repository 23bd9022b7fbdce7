"""Random batches against a dict and a naive MaxSim in float64."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import naive_search, pairs

from lfm2_retrieval import TokenEmbeddings
from lfm2_retrieval.indexes import Index

DIM = 4
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)  # NUL and lone surrogates included
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 65_504.0, 2.0**-24]), st.floats(-2, 2, width=16)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
VECTORS = st.lists(st.lists(VALUES, min_size=DIM, max_size=DIM), max_size=5)
DOCUMENT = st.tuples(VECTORS, st.none() | ANY_TEXT, st.dictionaries(ANY_TEXT, JSON, max_size=3))
BATCHES = st.lists(st.dictionaries(ANY_TEXT.filter(len), DOCUMENT, max_size=6), max_size=5)


def pack(rows):
    arrays = [np.array(vectors, np.float32).reshape(-1, DIM) for vectors in rows]
    lengths = [len(array) for array in arrays]
    return TokenEmbeddings(
        np.concatenate([np.empty((0, DIM), np.float32), *arrays]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def check(index, expected, queries, k):
    assert index.ids() == list(expected)
    entries = index.get_many(list(expected))
    assert [(entry.text, entry.metadata, entry.n_tokens) for entry in entries] == [
        (text, metadata, len(vectors)) for vectors, text, metadata in expected.values()
    ]
    documents = [(id, np.array(vectors).reshape(-1, DIM)) for id, (vectors, _, _) in expected.items()]
    for query, hits in zip(queries, index.search(queries, k), strict=True):
        assert pairs(hits) == naive_search(query, documents, k)
    assert index.n_tokens == sum(len(vectors) for vectors, _, _ in expected.values())
    index.verify()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=BATCHES, queries=st.lists(VECTORS, max_size=4), k=st.integers(1, 12), grouped=st.booleans())
def test_an_index_is_a_dict_with_maxsim(tmp_path_factory, batches, queries, k, grouped):
    path = tmp_path_factory.mktemp("property") / "index"
    expected = {}
    packed = pack(queries)
    with Index.create(path, DIM, tier="exact") as index, index.writer() as writer:
        for batch in batches:
            new = {id: document for id, document in batch.items() if id not in expected}
            vectors, texts, metadata = zip(*new.values(), strict=True) if new else ((), (), ())
            writer.add(list(new), pack(vectors), texts, metadata)
            if not grouped:
                writer.commit()
            expected.update(new)
        writer.commit()
        check(index, expected, packed, k)
    with Index.open(path) as index:
        check(index, expected, packed, k)
