"""Documents of which passages are indexed: they come, change, are renamed and go as wholes."""

import copy
import pickle

import numpy as np
import pytest

from lfm2_retrieval import Document, Encoder, Retriever
from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.documents import FileDocument, Heading, Passages, Region, Structure, TextKind
from lfm2_retrieval.errors import (
    DuplicateIdError,
    IndexClosedError,
    InvalidInputError,
    StoredIndexError,
    UnknownIdError,
)

SPLIT = Passages(tokens=24)
SECTIONS = ("rain falls on quiet hills and valleys", "bread, cheese and wine for all of us", "trains leave")


def guide(id="guide.md", sections=SECTIONS, **facts):
    """A document in sections, each too long to stand with another."""
    text, headings = "# Guide\n\n", [Heading(1, "Guide", 0, 8)]
    for number, section in enumerate(sections):
        title = f"## Part {number}\n"
        headings.append(Heading(2, f"Part {number}", len(text), len(text) + len(title)))
        text += title + f"\n{section}. " * 2 + "\n\n"
    structure = Structure(TextKind.MARKDOWN, tuple(headings), (Region(0, len(text), first=1),))
    return FileDocument(id, text, {"lang": "en"}, f"docs/{id}", "markdown", structure, facts)


@pytest.fixture(scope="module")
def model(checkpoint):
    return Encoder.load(checkpoint())


@pytest.fixture
def retriever(model, tmp_path):
    documents = [guide(), Document("note", "the quick brown fox " * 20), Document("empty", " ")]
    with Retriever.index(documents, tmp_path / "index", model=model, passages=SPLIT) as retriever:
        yield retriever


@pytest.fixture
def encoded(model, monkeypatch):
    """The texts that were encoded."""
    texts = []
    encode = Encoder.encode_documents

    def watched(self, some, **options):
        texts.extend(some)
        return encode(self, some, **options)

    monkeypatch.setattr(Encoder, "encode_documents", watched)
    return texts


def state(retriever):
    """All that there is of each document and its passages, but the numbers and the order of the latter."""
    found = {}
    for document in retriever.documents():
        passages = retriever.store.sources.held(document.id).passages
        vectors = retriever.store.embeddings([entry.id for entry in passages])
        found[document.id] = (
            document,
            [
                (one.passage.start, one.passage.end, one.text, one.passage.context, dict(one.passage.place))
                for one in passages
            ],
            [np.round(some.astype(float), 3).tolist() for some in vectors],
        )
    return found


def check(retriever, model):
    """The index is whole, and equals one that is made anew of its documents."""
    retriever.verify()
    with Retriever.index(retriever.documents(), model=model, passages=SPLIT) as anew:
        assert state(anew) == state(retriever)
    for document in retriever.documents():
        for entry in retriever.store.sources.held(document.id).passages:
            assert document.text[entry.passage.start : entry.passage.end] == entry.text
            assert retriever.encoder.sequences([entry.encoded])[0][0] <= SPLIT.tokens + 2


def test_documents_are_what_goes_in_and_comes_out_and_passages_are_what_is_found(retriever, model, tmp_path):
    assert (len(retriever), retriever.n_documents, retriever.count()) == (3, 3, 3)
    assert retriever.n_passages == len(retriever.store) > 6
    assert retriever.ids() == ["guide.md", "note", "empty"]
    assert (
        list(retriever) == list(retriever.documents()) == [retriever.document(id) for id in retriever.ids()]
    )
    assert retriever.document("guide.md") == guide() == retriever.get("guide.md")
    assert retriever.document("nope") is None
    assert retriever.passages == SPLIT
    assert retriever.get("guide.md#1").text == guide().text[: len(retriever.get("guide.md#1").text)]
    assert "guide.md" in retriever
    assert "guide.md#1" in retriever
    assert "guide.md#99" not in retriever
    assert retriever.count({"lang": "en"}) == 1
    assert retriever.ids({"id": "note"}) == ["note"]
    check(retriever, model)


def test_a_hit_knows_its_place_and_what_is_around_it(retriever):
    [hit, *_] = retriever.search("cheese", 5, mode="lexical", where="lang = 'en'")
    document = guide()
    assert (hit.document_id, hit.source, hit.page) == ("guide.md", "docs/guide.md", None)
    assert hit.id == f"guide.md#{hit.number}"
    assert document.text[slice(*hit.span)] == hit.text
    assert hit.headings == ("Guide", "Part 1")
    assert hit.lines == hit.place.lines == document.place(*hit.span).lines
    around = hit.context(1, 1)
    assert hit.text in around
    assert around in document.text
    assert len(around) > len(hit.text)
    assert hit.context(0, 0) == hit.text
    assert hit.context(99, 99).strip() == document.text.strip()
    for before in (-1, 1.5, True):
        with pytest.raises(InvalidInputError, match="before"):
            hit.context(before)
    assert hit.to_dict()["span"] == list(hit.span)
    assert hit.to_dict()["place"] == hit.place.to_dict()
    for copied in (pickle.loads(pickle.dumps(hit)), copy.deepcopy(hit), copy.copy(hit)):
        assert copied == hit
    with pytest.raises(IndexClosedError, match=r"retriever\.document"):
        pickle.loads(pickle.dumps(hit)).context()
    assert copy.deepcopy(hit).context() == hit.context()
    retriever.delete("guide.md")
    retriever.merge()
    with pytest.raises(StoredIndexError, match="search again"):
        hit.context()
    retriever.close()
    with pytest.raises(IndexClosedError):
        hit.context()


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_by_document_there_is_one_hit_a_document_and_a_count_of_the_others(model, tmp_path, mode):
    documents = [Document(f"d{n}", "the quick brown fox jumps over hills " * (3 * n + 1)) for n in range(12)]
    with Retriever.index(documents, model=model, passages=SPLIT) as retriever:
        assert retriever.n_passages > 40
        for exact in (False, True):
            options = {"mode": mode, "exact": exact, "where": {"id": {"$ne": "d0"}}}
            [hits, _] = retriever.search(["quick hills", "fox"], 8, by="document", **options)
            assert len({hit.document_id for hit in hits}) == len(hits) == 8
            assert [hit.rank for hit in hits] == list(range(1, 9))
            passages = retriever.search("quick hills", 50, **options)
            pool = [hit.document_id for hit in passages]
            for hit in hits:
                assert hit.n_matching == max(0, pool.count(hit.document_id) - 1)
        grouped = retriever.search("quick", 4, mode=mode, by="document", group_by="id")
        assert len(grouped) == 4
        explained = retriever.search("quick hills", 2, mode=mode, by="document", explain=True)
        assert all(hit.matches and hit.n_matching is not None for hit in explained)
        with pytest.raises(InvalidInputError, match="by must be"):
            retriever.search("fox", by="chapter")


def test_by_document_more_is_looked_at_where_passages_of_one_crowd(model):
    documents = [
        Document("long", "quick fox " * 2000),
        *(Document(f"s{n}", f"fox {n} rain") for n in range(5)),
    ]
    with Retriever.index(documents, model=model, passages=SPLIT) as retriever:
        hits = retriever.search("quick fox", 6, by="document", mode="lexical")
        assert (hits[0].document_id, len(hits)) == ("long", 6)
        assert hits[0].n_matching == 49


def test_only_passages_that_changed_are_encoded(retriever, model, encoded, tmp_path):
    before = {entry.id: entry for entry in retriever.store.documents()}
    changed = guide(sections=(SECTIONS[0], "no bread at all, nor any cheese today", SECTIONS[2]))
    counts = retriever.add([changed], on_conflict="replace")
    assert (int(counts), counts.changed, counts.unchanged) == (1, 1, 0)
    assert 0 < len(encoded) < retriever.n_passages - 3
    assert all("bread" in text or "cheese" in text for text in encoded)
    after = {entry.id: entry for entry in retriever.store.documents()}
    stayed = [id for id in after if id in before and "bread" not in after[id].text]
    assert len(stayed) > 3
    check(retriever, model)
    encoded.clear()
    assert retriever.add([changed], on_conflict="replace").unchanged == 1
    assert retriever.add([changed], on_conflict="skip").skipped == 1
    with pytest.raises(DuplicateIdError):
        retriever.add([changed])
    assert retriever.update([{"id": "guide.md", "metadata": {"lang": "de"}}]).changed == 1
    assert encoded == []
    assert retriever.count({"lang": "de"}) == 1
    assert retriever.document("guide.md").structure == changed.structure
    assert retriever.update([{"id": "note", "text": "short"}]).changed == 1
    assert encoded == ["short"]
    with pytest.raises(UnknownIdError):
        retriever.update([{"id": "guide.md#1", "text": "x"}])
    check(retriever, model)


def test_whole_documents_go_and_not_single_passages(retriever, model, tmp_path):
    with pytest.raises(InvalidInputError, match=r"a passage of the document 'guide\.md'"):
        retriever.delete(["guide.md#1"])
    with pytest.raises(InvalidInputError, match="one by one"):
        retriever.store.add(["x"], model.encode_documents(["x"]))
    with pytest.raises(InvalidInputError, match="one by one"):
        retriever.store.update(["guide.md#1"], metadata=[{}])
    with pytest.raises(UnknownIdError):
        retriever.delete(["guide.md", "nope"])
    assert retriever.delete(["guide.md"]) == 1
    assert retriever.delete(where={"id": "empty"}) == 1
    assert retriever.ids() == ["note"]
    check(retriever, model)
    assert retriever.delete(all=True) == 1
    assert (len(retriever), retriever.n_passages) == (0, 0)
    retriever.verify()


def test_put_delete_and_rename_are_one_commit_and_encode_only_what_is_new(
    retriever, model, encoded, tmp_path
):
    told = []
    counts = retriever.replace_documents(
        [guide("new.md", ("a wholly new section of this text", *SECTIONS)), guide("other.md", size=7)],
        delete=["empty"],
        rename={"guide.md": "new.md"},
        facts=lambda id: {"digest": id.upper()},
        on_progress=told.append,
    )
    assert (counts.added, counts.changed, counts.renamed, counts.deleted) == (1, 1, 1, 1)
    assert counts.encoded == len(encoded)
    assert counts.kept > 3
    assert told == [counts]
    assert dict(retriever.stored_facts()) == {
        "new.md": {"source": "docs/new.md", "format": "markdown", "digest": "NEW.MD"},
        "note": {},
        "other.md": {"source": "docs/other.md", "format": "markdown", "size": 7, "digest": "OTHER.MD"},
    }
    check(retriever, model)
    encoded.clear()
    counts = retriever.replace_documents(rename={"new.md": "note", "note": "new.md"})
    assert (counts.renamed, encoded) == (2, [])
    assert "fox" in retriever.document("new.md").text
    check(retriever, model)
    for bad, error in (({"nope": "x"}, UnknownIdError), ({"note": "other.md"}, InvalidInputError)):
        with pytest.raises(error):
            retriever.replace_documents([guide("never.md")], rename=bad)
    assert "never.md" not in retriever
    with Retriever.index(["plain"], model=model) as plain, pytest.raises(InvalidInputError, match="passages"):
        plain.replace_documents([guide()])


class Cache:
    """What a run keeps."""

    def __init__(self):
        self.vectors = {}

    def get(self, keys):
        return [self.vectors.get(key) for key in keys]

    def put(self, keys, embeddings):
        for i, key in enumerate(keys):
            self.vectors[key] = TokenEmbeddings(embeddings[i], np.array([0, len(embeddings[i])]))


def test_a_cache_gives_what_a_run_that_failed_had_encoded(retriever, model, encoded, tmp_path):
    cache = Cache()

    def failing():
        yield guide("a.md", ("one section of its own about mountains",))
        yield guide("b.md", ("another section of its own about rivers",))
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        retriever.replace_documents(failing(), cache=cache, batch_size=1)
    assert retriever.ids() == ["guide.md", "note", "empty"]
    assert cache.vectors
    encoded.clear()
    documents = [guide("a.md", ("one section of its own about mountains",))]
    counts = retriever.replace_documents(documents, cache=cache)
    assert (counts.encoded, encoded) == (0, [])
    assert counts.kept == len(retriever.store.sources.held("a.md").passages)
    check(retriever, model)


def test_what_is_added_is_split_as_the_index_says(retriever, model, tmp_path):
    retriever.close()
    with Retriever.index(["plain " * 100], tmp_path / "index", model=model, if_exists="append") as again:
        assert again.n_passages > len(again) == 4
        assert again.ids()[-1].isdecimal()
    for other in ("none", Passages(tokens=99)):
        with pytest.raises(InvalidInputError, match="passages="):
            Retriever.index(["x"], tmp_path / "index", model=model, if_exists="append", passages=other)
    with Retriever.reindex(tmp_path / "index", model) as anew:
        assert anew.passages == SPLIT
        assert anew.document("guide.md") == guide()
        check(anew, model)
    with Retriever.index(["x"], tmp_path / "index", model=model, if_exists="overwrite") as other:
        assert other.passages is None
        assert other.ids() == ["0"]
        other.merge()
        other.verify()


def test_files_are_split_by_themselves_and_strings_are_not(model):
    with Retriever.index([guide()], model=model) as files, Retriever.index(["x y z"], model=model) as texts:
        assert files.passages == Passages()
        assert texts.passages is None
        [hit] = texts.search("x", 1)
        assert (hit.document_id, hit.span, hit.place, hit.context()) == ("0", None, None, "x y z")
        assert "span" not in hit.to_dict()
    with Retriever.index([guide()], model=model, long_documents="window") as windows:
        assert windows.passages is None
    with pytest.raises(InvalidInputError, match="long_documents"):
        Retriever.index([guide()], model=model, long_documents="window", passages=Passages())
    with pytest.raises(InvalidInputError, match="passages must be"):
        Retriever.index([guide()], model=model, passages="pages")


def test_an_error_in_the_middle_of_a_document_leaves_those_before_it(model, tmp_path, monkeypatch):
    from lfm2_retrieval.retriever import ingest, pieces

    monkeypatch.setattr(pieces, "_PIECES_AT_ONCE", 4)
    monkeypatch.setattr(ingest, "_COMMIT_TOKENS", 32)
    encode = Encoder.iter_batches

    def failing(self, batches, **options):
        for number, found in enumerate(encode(self, batches, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Encoder, "iter_batches", failing)
    documents = [Document("first", "quick fox " * 20), Document("second", "brown bread " * 400)]
    with pytest.raises(KeyboardInterrupt):
        Retriever.index(documents, tmp_path / "index", model=model, passages=SPLIT)
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        retriever.verify()
        assert retriever.ids() == ["first"]
        check(retriever, model)


def test_changes_join_a_transaction(retriever, model, tmp_path):
    with retriever.transaction():
        retriever.add([Document("t", "rain " * 60)])
        retriever.add([Document("t", "rain " * 50 + "snow")], on_conflict="replace")
        retriever.delete("note")
        retriever.replace_documents([Document("u", "u")], rename={"t": "v"})
        assert retriever.ids() == ["guide.md", "note", "empty"]
    assert retriever.ids() == ["guide.md", "empty", "v", "u"]
    check(retriever, model)


def test_documents_are_put_in_order_by_their_best_passage(retriever):
    whole = retriever.rerank("quick fox", ids=["guide.md", "note", "empty"])
    assert [hit.rank for hit in whole] == [1, 2]
    assert {hit.document_id for hit in whole} == {"guide.md", "note"}
    parts = retriever.rerank("quick fox", ids=["guide.md#1", "note#1", "note#2"], k=2)
    assert len(parts) == 2
    with pytest.raises(InvalidInputError, match="not in the index"):
        retriever.rerank("fox", ids=["nope"])
