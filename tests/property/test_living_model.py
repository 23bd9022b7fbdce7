"""Random lives of an index against a plain dict, and a second reader against what it saw last."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import naive_search, pairs

from lfm2_retrieval import Index, TokenEmbeddings
from lfm2_retrieval.errors import DuplicateIdError, UnknownIdError

DIM = 4
IDS = st.lists(st.sampled_from([f"id{i}" for i in range(12)]), max_size=5, unique=True)
TEXT = st.none() | st.text(max_size=4)
METADATA = st.fixed_dictionaries({"n": st.integers(0, 3)})


class Life(RuleBasedStateMachine):
    """The model: id → (vectors, text, metadata), in order of insertion."""

    tier = "exact"

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lfm2-life-"))
        self.rng = np.random.default_rng(0)
        self.documents, self.seen = {}, {}
        self.transaction = self.before = None

    @initialize(seed=st.integers(0, 99))
    def create(self, seed):
        self.rng = np.random.default_rng(seed)
        self.index = Index.create(self.folder / "index", DIM, tier=self.tier)
        self.reader = Index.open(self.folder / "index")

    def drawn(self, n):
        lengths = self.rng.integers(0, 4, n)
        vectors = self.rng.integers(-2, 3, (lengths.sum(), DIM)) / 2  # ties are common
        return TokenEmbeddings(
            vectors.astype(np.float32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        )

    @rule(ids=IDS, on_conflict=st.sampled_from(["error", "replace", "skip"]), data=st.data())
    def add(self, ids, on_conflict, data):
        vectors = self.drawn(len(ids))
        texts, metadata = [data.draw(TEXT) for _ in ids], [data.draw(METADATA) for _ in ids]
        held = set(ids) & set(self.documents)
        if held and on_conflict == "error":
            with pytest.raises(DuplicateIdError):
                self.index.add(ids, vectors, texts, metadata)
            return
        n = self.index.add(ids, vectors, texts, metadata, on_conflict=on_conflict)
        new = {
            id: document
            for id, *document in zip(ids, vectors, texts, metadata, strict=True)
            if id not in held or on_conflict == "replace"
        }
        assert n == len(new)
        self.documents.update(new)

    @rule(ids=IDS, what=st.sampled_from([(0,), (1,), (2,), (1, 2), (0, 1, 2)]), data=st.data())
    def update(self, ids, what, data):
        given = [
            self.drawn(len(ids)),
            [data.draw(TEXT) for _ in ids],
            [data.draw(METADATA) for _ in ids],
        ]
        arguments = [given[part] if part in what else None for part in range(3)]
        if not set(ids) <= set(self.documents):
            with pytest.raises(UnknownIdError):
                self.index.update(ids, *arguments)
            return
        assert self.index.update(ids, *arguments) == len(ids)
        for number, id in enumerate(ids):
            old = self.documents[id]
            self.documents[id] = [given[part][number] if part in what else old[part] for part in range(3)]

    @rule(ids=IDS, missing_ok=st.booleans())
    def delete(self, ids, missing_ok):
        held = [id for id in ids if id in self.documents]
        if len(held) < len(ids) and not missing_ok:
            with pytest.raises(UnknownIdError):
                self.index.delete(ids)
            return
        assert self.index.delete(ids, missing_ok=missing_ok) == len(held)
        for id in held:
            del self.documents[id]

    @rule(n=st.integers(0, 3))
    def delete_where(self, n):
        held = [id for id, document in self.documents.items() if document[2]["n"] == n]
        assert self.index.delete(where={"n": n}) == len(held)
        for id in held:
            del self.documents[id]

    @precondition(lambda self: self.transaction is None)
    @rule()
    def begin(self):
        self.before = dict(self.documents)
        self.transaction = self.index.transaction()
        self.transaction.__enter__()

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def commit(self):
        self.transaction.__exit__(None, None, None)
        self.transaction = None

    @precondition(lambda self: self.transaction is not None)
    @rule()
    def roll_back(self):
        assert not self.transaction.__exit__(RuntimeError, RuntimeError(), None)
        self.documents, self.transaction = self.before, None

    @precondition(lambda self: self.transaction is None)
    @rule()
    def merge(self):
        self.index.merge()

    @precondition(lambda self: self.transaction is None)
    @rule()
    def reopen(self):
        self.index.close()
        self.index = Index.open(self.folder / "index")

    @rule()
    def refresh(self):
        self.reader.refresh()
        self.seen = dict(self.committed)

    @property
    def committed(self):
        return self.documents if self.transaction is None else self.before

    @invariant()
    def holds(self):
        if not hasattr(self, "index"):
            return
        self.compare(self.index, self.committed)
        self.compare(self.reader, self.seen)

    def compare(self, index, documents):
        assert index.ids() == list(documents)
        assert [[entry.text, entry.metadata] for entry in index] == [one[1:] for one in documents.values()]
        assert index.count({"n": 1}) == sum(one[2]["n"] == 1 for one in documents.values())
        query = TokenEmbeddings(np.eye(DIM, dtype=np.float32)[:2], np.array([0, 2]))
        vectors = [(id, one[0]) for id, one in documents.items()]
        assert pairs(index.search(query, 20)[0]) == naive_search(query[0], vectors, 20)

    def teardown(self):
        if hasattr(self, "index"):
            if self.transaction is not None:
                self.transaction.__exit__(None, None, None)
            self.index.verify()
            self.index.close()
            self.reader.close()
        shutil.rmtree(self.folder)


class CompressedLife(Life):
    """The same of the index that compresses, at a size at which it doesn't yet."""

    tier = "balanced"


SHORT = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=600, stateful_step_count=30)

TestLife, TestCompressedLife = Life.TestCase, CompressedLife.TestCase
TestLife.settings = TestCompressedLife.settings = SHORT


@pytest.mark.campaign
@pytest.mark.parametrize("kind", [Life, CompressedLife])
def test_a_thousand_lives(kind):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(kind, settings=LONG)
