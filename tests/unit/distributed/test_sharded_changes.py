"""Changes of a collection in shards: routed by id, the same as in one index, and none of them lost."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed_support import documents

from lfm2_retrieval import Document, Index, Retriever
from lfm2_retrieval.distributed import ShardedRetriever, build, shard_of
from lfm2_retrieval.documents import FileDocument, Passages
from lfm2_retrieval.errors import DuplicateIdError, InvalidInputError, StoredIndexError, UnknownIdError


@pytest.fixture
def both(nano, whole, collections, tmp_path):
    """One index and four shards of the same, to be changed."""
    whole.store.backup(tmp_path / "whole")
    shutil.copytree(collections[4], tmp_path / "collection")
    with (
        Retriever.open(tmp_path / "whole", model=nano) as one,
        ShardedRetriever.open(tmp_path / "collection", model=nano) as opened,
    ):
        yield one, opened


def found(retriever, **options):
    hits = retriever.search("a storm of bread in the harbour", 40, **options)
    return [(hit.id, hit.score, hit.text) for hit in hits]


def test_the_same_changes_give_the_same_answers(both):
    counts = []
    for retriever in both:
        counts.append(
            [
                retriever.add(
                    [{"id": f"new{i}", "text": "a storm of bread", "lang": "xx"} for i in range(9)]
                ),
                retriever.add(["a storm in the harbour", "bread of the harbour"]),
                retriever.update([{"id": "new3", "text": "snow"}, {"id": "d7", "lang": "yy"}]),
                retriever.delete(["new1", "d11"]),
                retriever.delete(where="lang = 'fr' AND year = 1991"),
                retriever.add([{"id": "new3", "text": "storm of snow"}], on_conflict="replace"),
                retriever.add([{"id": "d1", "text": "x"}, {"id": "new20", "text": "y"}], on_conflict="skip"),
            ]
        )
    one, opened = both
    assert counts[0] == counts[1]
    assert [repr(count) for count in counts[0]] == [repr(count) for count in counts[1]]
    assert found(one) == found(opened)
    assert found(one, mode="hybrid", fusion="weighted") == found(opened, mode="hybrid", fusion="weighted")
    assert sorted(one.ids()) == sorted(opened.ids())
    opened.verify()


def test_what_is_refused_changes_no_shard(both):
    _, opened = both
    before = opened.commits
    with pytest.raises(DuplicateIdError, match="'d5'"):
        opened.add([{"id": f"n{i}", "text": "x"} for i in range(20)] + [{"id": "d5", "text": "x"}])
    with pytest.raises(UnknownIdError, match="'nobody'"):
        opened.update([{"id": "d1", "text": "x"}, {"id": "nobody", "text": "x"}])
    with pytest.raises(UnknownIdError, match="'nobody'"):
        opened.delete(["d1", "nobody"])
    with pytest.raises(InvalidInputError, match="either ids"):
        opened.delete()
    with pytest.raises(InvalidInputError, match="says nothing"):
        opened.delete(where={})
    assert opened.delete(["nobody"], missing_ok=True) == 0
    assert opened.commits == before


def test_a_reader_stays_at_its_commits_until_it_goes_on(both, nano):
    _, opened = both
    with ShardedRetriever.open(opened.path, model=nano) as other:
        before = found(other)
        opened.add([{"id": f"n{i}", "text": "a storm of bread in the harbour"} for i in range(6)])
        assert found(other) == before
        assert other.refresh()
        assert found(other) == found(opened) != before
        assert not other.refresh()


def test_an_interrupted_change_says_which_shards_have_it(both, monkeypatch):
    _, opened = both
    last = max(shard_of(f"n{i}", 4) for i in range(30))

    def fail(*args):
        raise OSError("disk")

    monkeypatch.setattr(opened.store.shards._open[last], "add", fail)
    rows = [{"id": f"n{i}", "text": "storm"} for i in range(30)]
    with pytest.raises(OSError, match="disk") as caught:
        opened.add(rows)
    assert "shard-00000" in caught.value.__notes__[0]
    monkeypatch.undo()
    assert opened.add(rows, on_conflict="replace") == 30
    assert opened.count({"id": {"$in": [f"n{i}" for i in range(30)]}}) == 30


def test_a_document_in_the_wrong_shard_is_named(both, nano):
    _, opened = both
    wrong = (shard_of("stray", 4) + 1) % 4
    path = opened.path / f"shard-{wrong:05}"
    with Retriever.open(path, model=nano) as shard:
        shard.add([{"id": "stray", "text": "a storm of bread in the harbour"}])
    opened.refresh()
    with pytest.raises(StoredIndexError, match=rf"'stray' lies in shard {wrong}.*delete"):
        opened.search("a storm of bread in the harbour")
    with pytest.raises(StoredIndexError, match="'stray' lies in shard"):
        opened.verify()


def guides(n):
    texts = []
    for i in range(n):
        sections = [f"# Guide {i}\n\n" + "The ferry leaves the harbour at high tide. " * 12]
        sections += [f"## Part {j}\n\n" + f"Bread and butter number {j % 3}. " * 20 for j in range(3)]
        texts.append("\n\n".join(sections))
    return [
        FileDocument(f"guide{i}.md", text, {"n": i}, source=f"/guides/guide{i}.md", format="markdown")
        for i, text in enumerate(texts)
    ]


def test_passages_lie_with_their_documents_and_come_as_from_one_index(nano, tmp_path):
    passages = Passages(tokens=64)
    build(guides(12), tmp_path / "sharded", shards=3, model=nano, workers=0, passages=passages)
    with (
        Retriever.index(guides(12), tmp_path / "one", model=nano, passages=passages) as one,
        ShardedRetriever.open(tmp_path / "sharded", model=nano) as opened,
    ):
        for retriever in (one, opened):
            retriever.add([Document("late", "The ferry leaves the harbour at high tide. " * 30)])
            retriever.delete("guide4.md")
        assert opened.n_passages == one.n_passages > 40
        for options in ({}, {"k": 30}, {"by": "document"}, {"mode": "hybrid", "k": 20}, {"mode": "lexical"}):
            some, others = (
                retriever.search("when does the ferry leave?", **options) for retriever in (one, opened)
            )
            assert [hit.to_dict() for hit in some] == [hit.to_dict() for hit in others]
            assert [hit.context() for hit in some] == [hit.context() for hit in others]
        assert opened.get("guide2.md") == one.get("guide2.md")
        assert opened.get("guide2.md#2") == one.get("guide2.md#2")
        assert list(opened.documents()) == list(one.documents())
        held, there = (retriever.store.sources.held("guide3.md") for retriever in (one, opened))
        assert [entry.id for entry in held.passages] == [entry.id for entry in there.passages]
        ids = ["guide2.md", "guide5.md#1"]
        assert [(hit.id, hit.score) for hit in opened.rerank("ferry", ids=ids)] == [
            (hit.id, hit.score) for hit in one.rerank("ferry", ids=ids)
        ]


def test_documents_without_ids_are_numbered_as_in_one_index(nano, tmp_path):
    texts = [row["text"] for row in documents(40)]
    build(texts, tmp_path / "sharded", shards=3, model=nano, workers=0)
    with ShardedRetriever.open(tmp_path / "sharded", model=nano) as opened:
        assert opened.ids() == [str(i) for i in range(40)]
        opened.add(["one more", "and another"])
        assert opened.ids()[40:] == ["40", "41"]
        with Index.open(tmp_path / "sharded" / "shard-00001") as shard:
            assert len(shard) > 5


def test_who_adds_at_once_gets_numbers_of_his_own(nano, tmp_path):
    build(["the first text"], tmp_path / "c", shards=3, model=nano, workers=0, tier="exact")

    def add(thread: int) -> None:
        with ShardedRetriever.open(tmp_path / "c", model=nano) as opened:
            for turn in range(2):
                opened.add([f"tide {thread} of turn {turn}", f"ferry {thread} of turn {turn}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    with ShardedRetriever.open(tmp_path / "c", model=nano) as opened:
        assert sorted(int(one.id) for one in opened) == list(range(17))
        assert len({one.text for one in opened}) == 17
