"""The facade: from documents to hits."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from lfm2_retrieval import Document, Encoder, Retriever, ScoreKind, rerank
from lfm2_retrieval.encoder import TruncationWarning
from lfm2_retrieval.errors import (
    CheckpointError,
    DuplicateIdError,
    IndexClosedError,
    IndexExistsError,
    IndexFormatError,
    IndexNotFoundError,
    InvalidInputError,
    InvalidTypeError,
    ModelMismatchError,
    ModelNotFoundError,
)
from lfm2_retrieval.indexes import Index, upkeep
from lfm2_retrieval.indexes.catalogue.location import is_index
from lfm2_retrieval.indexes.compaction import policy
from lfm2_retrieval.indexes.quantization import training
from lfm2_retrieval.indexes.segments.arrays import FolderBuilder
from lfm2_retrieval.retriever import ingest
from lfm2_retrieval.retriever.ingest import Progress

TEXTS = [
    "rain falls on quiet hills",
    "the quick brown fox",
    "bread, cheese and wine",
    "trains leave at seven",
]


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint())


def best(model: Encoder, query: str, texts: list[str] = TEXTS) -> str:
    """The id of the best text by brute force."""
    [vectors] = model.encode_queries([query])
    stored = model.encode_documents(texts, output="float16")
    scores = [(vectors @ document.T.astype(np.float32)).max(axis=1).sum() for document in stored]
    return str(np.argmax(scores))


def test_strings_are_indexed_and_found(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        hits = retriever.search("the quick brown fox", k=3)
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert (hits[0].id, hits[0].text) == (best(model, "the quick brown fox"), TEXTS[int(hits[0].id)])
        assert hits[0].score_kind is ScoreKind.MAXSIM
        assert hits[0].score >= hits[1].score >= hits[2].score
        assert len(retriever) == 4
        assert "2" in retriever


def test_scores_are_maxsim_of_the_encoder(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        [query], documents = model.encode_queries(["quiet rain"]), model.encode_documents(TEXTS)
        expected = [float((query @ document.T).max(axis=1).sum()) for document in documents]
        for hit in retriever.search("quiet rain", k=10):
            assert hit.score == pytest.approx(expected[int(hit.id)], abs=0.02)  # stored as float16


def test_a_list_of_queries_gives_a_list_of_lists(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        together = retriever.search(["bread", "  ", "trains"], k=2)
        assert together[1] == []
        assert together[0] == retriever.search("bread", k=2)
        assert retriever.search([], k=2) == []
        assert retriever.search("", k=2) == []


def test_mappings_documents_titles_and_metadata(model: Encoder) -> None:
    documents = [
        Document("a", "the quick fox", {"year": 2020}),
        {"_id": "b", "title": "Bread", "text": "and wine", "lang": "en", "metadata": {"year": 2021}},
        {"id": "c", "text": "trains"},
        {"text": "no id"},
    ]
    with Retriever.index(documents, model=model) as retriever:
        assert retriever.get("b") == Document(
            "b", "Bread and wine", {"title": "Bread", "lang": "en", "year": 2021}
        )
        assert retriever.get("3").text == "no id"
        assert retriever.get("nowhere") is None
        assert retriever.search("quick fox", k=1)[0].metadata == {"year": 2020}


def test_documents_without_text_are_stored_and_never_found(model: Encoder) -> None:
    with Retriever.index(["", "fox", " \n"], model=model) as retriever:
        assert len(retriever) == 3
        assert [hit.id for hit in retriever.search("fox", k=10)] == ["1"]
        assert retriever.get("2").text == " \n"


@pytest.mark.parametrize("documents", [[], iter([])])
def test_nothing_to_index_gives_an_empty_index(model: Encoder, documents: object) -> None:
    with Retriever.index(documents, model=model) as retriever:
        assert len(retriever) == 0
        assert retriever.search("fox") == []


def test_reopened_it_gives_the_same_hits(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint()
    with Retriever.index(TEXTS, tmp_path / "index", model=folder) as retriever:
        expected = retriever.search("quiet hills")
    with Retriever.open(tmp_path / "index", model=folder) as reopened:
        assert reopened._own.loaded is None  # opening loads no model
        assert reopened.search("quiet hills") == expected


def test_a_model_that_moved_is_given_and_another_refused(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    moved = shutil.copytree(checkpoint(), tmp_path / "before")
    Retriever.index(TEXTS, tmp_path / "index", model=moved).close()
    moved = moved.rename(tmp_path / "after")
    lost = Retriever.open(tmp_path / "index", trust_model=True)
    with lost, pytest.raises(ModelNotFoundError, match="before"):
        lost.search("fox")
    with Retriever.open(tmp_path / "index", model=moved) as found:
        assert found.search("fox")[0].id == best(found.encoder, "fox")
    other = checkpoint(dense_bias=True)
    with (
        Retriever.open(tmp_path / "index", model=other) as wrong,
        pytest.raises(ModelMismatchError, match=r"before.*fingerprint"),
    ):
        wrong.search("fox")
    with pytest.raises(ModelMismatchError):
        Retriever.index(["new"], tmp_path / "index", model=other, if_exists="append")


def test_if_exists(model: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "index"
    Retriever.index(TEXTS, path, model=model).close()
    with pytest.raises(IndexExistsError, match=r"'error'|append.*overwrite"):
        Retriever.index(TEXTS, path, model=model)
    with Retriever.index(["a fifth"], path, model=model, if_exists="append") as retriever:
        assert len(retriever) == 5
        assert retriever.get("4").text == "a fifth"
    with pytest.raises(DuplicateIdError, match="already"):
        Retriever.index([{"id": "4", "text": "again"}], path, model=model, if_exists="append")
    with Retriever.index(["only"], path, model=model, if_exists="overwrite") as retriever:
        assert retriever.store.ids() == ["0"]
    with pytest.raises(InvalidInputError, match="append"):
        Retriever.index(TEXTS, path, model=model, if_exists="replace")


def test_a_tier_is_kept_and_can_be_replaced(model: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "index"
    with Retriever.index(TEXTS, path, model=model) as retriever:
        assert retriever.store.tier == "balanced"
    with pytest.raises(InvalidInputError, match="balanced"):
        Retriever.index(["more"], path, model=model, if_exists="append", tier="compact")
    with Retriever.index(["more"], path, model=model, if_exists="overwrite", tier="exact") as retriever:
        assert retriever.store.tier == "exact"
    with pytest.raises(InvalidInputError, match="compact, balanced"):
        Retriever.index(TEXTS, model=model, tier="tiny")


def test_a_compressed_index_finds_the_same(model: Encoder) -> None:
    texts = [
        f"{a} {b} {c} {i}" for i, (a, b, c) in enumerate(product(("fox", "wine", "hills"), repeat=3))
    ] * 6
    with Retriever.index([f"{t} {i}" for i, t in enumerate(texts)], model=model) as retriever:
        before = {hit.id for hit in retriever.search("wine and hills", k=10)}
        if retriever.store.build(force=True):
            assert len(before & {hit.id for hit in retriever.search("wine and hills", k=10)}) >= 7


@pytest.mark.parametrize("length_known", [True, False])
@pytest.mark.filterwarnings("ignore::lfm2_retrieval.indexes.DriftWarning")
def test_a_stream_is_committed_and_compressed_as_it_comes(
    model: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length_known: bool
) -> None:
    monkeypatch.setattr(ingest, "_COMMIT_TOKENS", 1500)
    monkeypatch.setattr(upkeep, "_UNKNOWN_TOKENS", 4096)
    monkeypatch.setattr(training, "_PQ_SAMPLE", 4096)
    monkeypatch.setattr(policy, "TRAIN_TOKENS", 4096)
    monkeypatch.setattr(policy, "FOLD_TOKENS", 1000)
    texts = [f"{a} {b} {i}" for i in range(100) for a, b in product(("fox", "wine", "hills"), repeat=2)]
    loose: list[int] = []
    progress: list[Progress] = []

    def stream() -> Iterator[str]:
        for i, text in enumerate(texts):
            if i % 64 == 0 and is_index(tmp_path / "index"):
                with Index.open(tmp_path / "index") as index:
                    loose.append(index._snapshot().n_loose)
            yield text

    with Retriever.index(
        stream(),
        tmp_path / "index",
        model=model,
        batch_size=64,
        n_documents=len(texts) if length_known else None,
        on_progress=progress.append,
    ) as retriever:
        assert retriever.store.ids() == [str(i) for i in range(len(texts))]
        assert retriever.store.codec_facts is not None
        assert max(loose) < retriever.store.n_tokens
        assert loose[-1] < 4096
        retriever.store.verify()
        assert {each.phase for each in progress} == {"index", "train", "encode"}
        assert progress[-1].share == 1
        estimates = [each.estimate for each in progress]
        assert (estimates[-1] is not None) == length_known
        if length_known:
            held = retriever.store.codec_facts["n_tokens"]
            assert abs(held - retriever.store.n_tokens) < 0.1 * held


def test_something_else_at_the_path_is_left_alone(model: Encoder, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for if_exists in ("error", "append", "overwrite"):
        with pytest.raises(IndexExistsError, match="not an index"):
            Retriever.index(TEXTS, tmp_path, model=model, if_exists=if_exists)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(IndexFormatError):
        Retriever.open(tmp_path)
    with pytest.raises(IndexNotFoundError):
        Retriever.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


BAD = [
    ([{"id": 5.5, "text": "x"}], InvalidTypeError, "id of document . must be a str or a whole number"),
    ([{"id": True, "text": "x"}], InvalidTypeError, "id of document . must be a str or a whole number"),
    ([{"id": "", "text": "x"}], InvalidInputError, "empty"),
    ([{"id": "a"}], InvalidInputError, "no 'text'"),
    ([{"id": "a", "text": None}], InvalidTypeError, "text of document 'a'"),
    ([{"id": "a", "text": "x", "metadata": 3}], InvalidTypeError, "metadata"),
    ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], DuplicateIdError, "'a'"),
    ([{"id": "a", "text": "x", "year": float("inf")}], InvalidInputError, "metadata of document 'a'"),
    ([{"id": "a", "text": "x", 3: 1}], InvalidTypeError, "keys in the metadata"),
    ([b"bytes"], InvalidTypeError, "bytes"),
    ("a single text", InvalidTypeError, "iterable"),
    ({"id": "a", "text": "x"}, InvalidTypeError, "iterable"),
]


@pytest.mark.parametrize(("documents", "error", "says"), BAD)
@pytest.mark.parametrize("lazily", [False, True])
def test_bad_documents_leave_nothing_behind(
    model: Encoder, tmp_path: Path, documents: object, error: type[Exception], says: str, lazily: bool
) -> None:
    if lazily and isinstance(documents, list):
        documents = iter(["good", *documents])
    with pytest.raises(error, match=says):
        Retriever.index(documents, tmp_path / "index", model=model)
    assert not (tmp_path / "index").exists()


def test_metadata_of_a_list_are_checked_before_any_work(model: Encoder, tmp_path: Path) -> None:
    documents = [*TEXTS, {"text": "x", "tags": b"a"}]
    with pytest.raises(InvalidInputError, match="metadata of document '4' is not JSON"):
        Retriever.index(documents, tmp_path / "index", model=model, batch_size=2)
    assert not (tmp_path / "index").exists()


def test_what_came_before_a_bad_document_of_a_stream_stays(model: Encoder, tmp_path: Path) -> None:
    def stream() -> Iterator[object]:
        yield from TEXTS
        yield 42

    with pytest.raises(InvalidTypeError, match="document 4") as caught:
        Retriever.index(stream(), tmp_path / "index", model=model, batch_size=2)
    assert caught.value.__notes__ == ["the 4 documents before it are in the index"]
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert len(retriever) == 4
    with pytest.raises(InvalidTypeError):
        Retriever.index(stream(), tmp_path / "index", model=model, batch_size=2, if_exists="overwrite")
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert retriever.store.ids() == ["0", "1", "2", "3"]  # the old index


def test_an_interrupt_leaves_a_usable_index(model: Encoder, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.documents >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retriever.index(TEXTS, tmp_path / "index", model=model, batch_size=1, on_progress=interrupt)
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert retriever.store.ids() == ["0", "1"]
        assert retriever.search("fox")[0].id == best(model, "fox", TEXTS[:2])


@pytest.mark.parametrize("file", ["vectors.npy", "keys.npy"])
def test_ctrl_c_while_a_batch_is_written_waits_for_it(
    model: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    write, calls = FolderBuilder.write, []

    def interrupted(self: FolderBuilder, name: str, dtype: str, array: np.ndarray) -> None:
        write(self, name, dtype, array)
        calls.extend([name] if len(array) else [])  # files begin empty
        if calls.count(file) == 2 and name == file:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FolderBuilder, "write", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Retriever.index(TEXTS, tmp_path / "index", model=model, batch_size=1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    with Retriever.open(tmp_path / "index", model=model) as retriever:
        assert retriever.store.ids() == ["0", "1"]


def test_cut_documents_are_reported_once(model: Encoder) -> None:
    texts = ["fox " * 2000, "fox", "wine " * 2000]
    with pytest.warns(TruncationWarning, match="2 of 3") as caught:
        Retriever.index(texts, model=model, batch_size=1).close()
    assert len(caught) == 1
    seen: list[Progress] = []
    Retriever.index(texts, model=model, batch_size=1, on_progress=seen.append).close()
    assert [(progress.documents, progress.cut) for progress in seen] == [(1, 1), (2, 1), (3, 2)]


@pytest.mark.parametrize("k", [0, -1, 1.5, "10", True])
def test_k_is_checked(model: Encoder, k: object) -> None:
    with Retriever.index(TEXTS, model=model) as retriever, pytest.raises(InvalidInputError, match="k must"):
        retriever.search("fox", k=k)


def test_k_beyond_the_collection_gives_all(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        assert len(retriever.search("fox", k=1000)) == 4


@pytest.mark.parametrize("query", [None, 3, [None], b"fox", {"text": "fox"}])
def test_a_query_that_is_no_text(model: Encoder, query: object) -> None:
    with Retriever.index(TEXTS, model=model) as retriever, pytest.raises(InvalidTypeError, match="a query"):
        retriever.search(query)


def test_many_threads_and_an_event_loop(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        expected = retriever.search(TEXTS, k=2)
        with ThreadPoolExecutor(8) as pool:
            for hits in pool.map(lambda i: retriever.search(TEXTS[i % 4], k=2), range(64)):
                assert hits in expected

        async def ask() -> list[object]:
            return await asyncio.gather(*(retriever.asearch(text, k=2) for text in TEXTS))

        assert asyncio.run(ask()) == expected


def test_a_temporary_index_goes_with_close(model: Encoder) -> None:
    retriever = Retriever.index(TEXTS, model=model)
    path = retriever.path
    assert repr(retriever).endswith("4 documents)")
    assert path.is_dir()
    retriever.close()
    retriever.close()
    assert not path.exists()
    assert repr(retriever).endswith("closed)")
    with pytest.raises(IndexClosedError):
        retriever.search("fox")


def test_the_default_model_names_its_remedies_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r'LFM2-ColBERT-350M.*model="nano".*local'):
        Retriever.index(TEXTS, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_broken_model_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(CheckpointError):
        Retriever.index(TEXTS, tmp_path / "index", model=tmp_path / "model")
    assert not (tmp_path / "index").exists()


def test_vectors_are_stored_in_half_precision(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        n_tokens = len(model.encode_documents(TEXTS).embeddings)
        assert retriever.store.n_tokens == n_tokens
        assert retriever.store.size_bytes()["vectors"] == pytest.approx(n_tokens * model.dim * 2, rel=0.5)
        assert np.isfinite(retriever.search("fox")[0].score)


RECORDS = [
    {"id": str(i), "text": text, "lang": lang, "year": 2018 + i, "tags": tags}
    for i, (text, lang, tags) in enumerate(
        zip(TEXTS, ("de", "en", "de", "fr"), (["a"], ["a", "b"], [], ["b"]), strict=True)
    )
]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"lang": "de"}, {"0", "2"}),
        ("lang = 'de' AND year > 2018", {"2"}),
        ({"tags": "b"}, {"1", "3"}),
        ({"tags": {"$in": ["a", "b"]}, "lang": {"$ne": "en"}}, {"0", "3"}),
        ("author = 'nobody'", set()),
    ],
)
def test_a_filter_leaves_what_it_says(model: Encoder, where: str | dict, left: set[str]) -> None:
    with Retriever.index(RECORDS, model=model) as retriever:
        for _ in range(2):  # the second time it is remembered
            assert {hit.id for hit in retriever.search("fox", where=where)} == left  # type: ignore[arg-type]
        everything = retriever.search("fox")
        hits = retriever.search(["fox", " "], where=where)
        assert hits[1] == []
        assert [hit.score for hit in hits[0]] == [hit.score for hit in everything if hit.id in left]


def test_a_filter_sees_what_was_added_since(model: Encoder, tmp_path: Path) -> None:
    with Retriever.index(RECORDS, tmp_path / "index", model=model) as retriever:
        assert len(retriever.search("fox", where={"lang": "de"})) == 2
        more = [{"id": "new", "text": "a new fox", "lang": "de"}]
        Retriever.index(more, tmp_path / "index", model=model, if_exists="append").close()
        assert len(retriever.search("fox", where={"lang": "de"})) == 2
        assert retriever.refresh()
        assert len(retriever.search("fox", where={"lang": "de"})) == 3


@pytest.mark.parametrize("where", ["lang = ", "lang; DROP TABLE documents", {"lang": {"$near": 1}}, 5])
def test_a_bad_filter_is_refused(model: Encoder, where: object) -> None:
    with Retriever.index(RECORDS, model=model) as retriever:
        for query in ("fox", " ", []):
            with pytest.raises(InvalidInputError):
                retriever.search(query, where=where)  # type: ignore[call-overload]


def test_an_explanation_adds_up_to_the_score(model: Encoder) -> None:
    texts = ["the quick 😀 brown fox", "bréad, चीज़ and ワイン", "", "שלום עולם \ud800 x"]
    queries = ["quick 😀", "ワイン", "עולם"]
    with Retriever.index(texts, model=model) as retriever:
        assert not retriever.search("fox")[0].matches
        for query, hits in zip(queries, retriever.search(queries, explain=True), strict=True):
            [vectors] = model.encode_queries([query])
            for hit in hits:
                assert len(hit.matches) == len(vectors)
                total = sum(match.similarity for match in hit.matches)
                assert hit.score == pytest.approx(total, rel=1e-5)
                for match in hit.matches:
                    assert 0 <= match.query_span[0] <= match.query_span[1] <= len(query)
                    assert 0 <= match.document_span[0] <= match.document_span[1] <= len(hit.text or "")


def test_an_explanation_points_to_the_word() -> None:
    texts = ["Bees make honey.", "The train leaves at seven.", "Ein Zug fährt ab."]
    with Retriever.index(texts, model="nano") as retriever:
        query = "train"
        [hit] = retriever.search(query, k=1, explain=True)
        spans = {
            (hit.text or "")[slice(*match.document_span)].strip()
            for match in hit.matches
            if query[slice(*match.query_span)]
        }
        assert spans == {"train"}


MODES = [
    {"mode": "dense"},
    {"mode": "lexical"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": "weighted", "weight": 0.3},
    {"mode": "hybrid", "fusion": "rerank"},
]


@pytest.mark.parametrize("options", MODES)
def test_every_mode_takes_the_same_arguments(model: Encoder, options: dict) -> None:
    with Retriever.index(RECORDS, model=model) as retriever:
        hits = retriever.search("quick fox and wine", k=3, **options)
        assert hits
        assert retriever.search(["quick fox and wine", " "], k=3, **options) == [hits, []]
        assert asyncio.run(retriever.asearch("quick fox and wine", k=3, **options)) == hits
        left = retriever.search("quick fox and wine", where={"lang": "en"}, **options)
        assert [hit.id for hit in left] == ["1"]
        explained = retriever.search("quick fox and wine", k=3, explain=True, **options)
        assert [(hit.id, hit.score) for hit in explained] == [(hit.id, hit.score) for hit in hits]
        assert all(hit.matches for hit in explained)
        [best] = retriever.search("quick fox and wine", 1, group_by="lang", min_score=0.001, **options)
        assert best.id == hits[0].id
    with pytest.raises(TypeError, match="fusoin"):
        retriever.search("fox", fusoin="rrf")


def test_a_search_by_words_loads_no_model(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    Retriever.index(TEXTS, tmp_path / "index", model=checkpoint()).close()
    with Retriever.open(tmp_path / "index", model=tmp_path / "nowhere") as retriever:
        assert [hit.id for hit in retriever.search("foxes", mode="lexical")] == ["1"]
        assert retriever._own.loaded is None
        with pytest.raises(ModelNotFoundError):
            retriever.search("foxes", mode="hybrid")


def test_words_and_fields_of_an_index_that_is_there(model: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "index"
    Retriever.index(RECORDS, path, model=model, lexical=False).close()
    with Retriever.index(["fifth"], path, model=model, if_exists="append") as retriever:
        assert (retriever.store.settings["lexical"], retriever.store.settings["fields"]) == (False, [])
    with Retriever.index(
        [], path, model=model, if_exists="append", lexical=True, fields=["lang"]
    ) as retriever:
        assert (retriever.store.settings["lexical"], retriever.store.settings["fields"]) == (True, ["lang"])
        assert [hit.id for hit in retriever.search("fifth", mode="lexical")] == ["4"]
    with Retriever.index(RECORDS, path, model=model, if_exists="overwrite", fields=["year"]) as retriever:
        assert retriever.store.settings["fields"] == ["lang", "year"]
        assert [hit.id for hit in retriever.search("fox", where={"year": 2019})] == ["1"]
        assert retriever.search("fifth", mode="lexical") == []
        retriever.store.verify()
    with pytest.raises(InvalidInputError, match="empty part"):
        Retriever.index(TEXTS, tmp_path / "other", model=model, fields=["a..b"])


def test_rerank_without_an_index(model: Encoder) -> None:
    texts = [*TEXTS, " ", {"id": "x", "title": "The", "text": "quick fox", "year": 3}]
    hits = rerank("the quick brown fox", texts, model=model)
    assert {hit.id for hit in hits} == {"0", "1", "2", "3", "x"}
    [query] = model.encode_queries(["the quick brown fox"])
    for hit in hits:
        assert hit.text is not None
        [document] = model.encode_documents([hit.text])
        expected = float((query.astype(float) @ document.T.astype(float)).max(axis=1).sum())
        assert hit.score == pytest.approx(expected, rel=1e-5)
        assert hit.normalized_score == pytest.approx(expected / len(query), rel=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert next(hit for hit in hits if hit.id == "x").metadata == {"title": "The", "year": 3}
    assert rerank("the quick brown fox", texts, model=model, k=2) == hits[:2]
    assert rerank(" ", texts, model=model) == rerank("fox", [], model=model) == []
    for hit in rerank("fox", texts, model=model, explain=True):
        assert sum(match.similarity for match in hit.matches) == pytest.approx(hit.score, rel=1e-5)


def test_rerank_of_a_retriever_uses_its_model_and_its_documents(model: Encoder) -> None:
    with Retriever.index(TEXTS, model=model) as retriever:
        assert retriever.rerank("fox", TEXTS) == rerank("fox", TEXTS, model=model)
        everything = retriever.search("fox", k=4)
        hits = retriever.rerank("fox", ids=["3", "0", "3"])
        assert [(hit.id, hit.score) for hit in hits] == [
            (hit.id, hit.score) for hit in everything if hit.id in "30"
        ]
        assert all(hit.matches for hit in retriever.rerank("fox", ids=["3"], explain=True))
        assert retriever.rerank(" ", ids=["3"]) == retriever.rerank("fox", ids=[]) == []
        bad: list[tuple[dict, str]] = [
            ({}, "either"),
            ({"texts": TEXTS, "ids": ["0"]}, "either"),
            ({"ids": ["nobody"]}, "nobody"),
            ({"texts": "fox"}, "single"),
            ({"ids": "3"}, "list"),
            ({"ids": [3]}, "must be a str"),
            ({"texts": TEXTS, "model": model}, "model"),
            ({"texts": TEXTS, "k": 0}, "k must"),
        ]
        for options, says in bad:
            with pytest.raises(InvalidInputError, match=says):
                retriever.rerank("fox", **options)
    with pytest.raises(InvalidTypeError, match="ids"):
        rerank("fox", ids=["0"], model=model)


def test_groups_of_a_retriever(model: Encoder) -> None:
    records = [
        {"id": f"{i}-{j}", "text": f"{text} {j}", "from": {"file": f"f{i}"}}
        for i, text in enumerate(TEXTS)
        for j in range(6)
    ]
    with Retriever.index([*records, "fox alone", "another fox"], model=model) as retriever:
        hits = retriever.search("the quick brown fox", k=5, group_by="from.file")
        assert len(hits) == 5
        files = [hit.metadata["from"]["file"] for hit in hits if hit.metadata]
        assert len(set(files)) == len(files)
        twice = retriever.search("the quick brown fox", k=30, group_by="from.file", group_size=2)
        assert len(twice) == 4 * 2 + 2


def test_an_explanation_of_what_is_split_or_runs_to_the_left() -> None:
    texts = ["מזג האוויר טוב 👩‍👩‍👧‍👦 היום", "𒀀𒀁 und 🏴󠁧󠁢󠁥󠁮󠁧󠁿 naïve e\u0301té", "plain words"]
    with Retriever.index(texts, model="nano") as retriever:
        for query in ("האוויר", "👩‍👩‍👧‍👦", "𒀀", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301té"):
            [vectors] = retriever.encoder.encode_queries([query])
            for hit in retriever.search(query, explain=True):
                text = hit.text or ""
                assert sum(match.similarity for match in hit.matches) == pytest.approx(hit.score, rel=1e-5)
                assert len(hit.matches) == len(vectors)
                covered = {
                    i for match in hit.matches for i in range(match.query_span[0], match.query_span[1])
                }
                assert covered == set(range(len(query))) - {
                    i for i, c in enumerate(query) if c.isspace()
                } or (covered == set(range(len(query))))
                for match in hit.matches:
                    assert 0 <= match.document_span[0] <= match.document_span[1] <= len(text)


def test_what_the_first_search_waits_for_can_be_loaded_before(tmp_path: Path) -> None:
    for texts in (["The tide comes in twice a day."], []):
        Retriever.index(texts, tmp_path / "index", model="nano", if_exists="overwrite").close()
        with Retriever.open(tmp_path / "index") as retriever:
            retriever.warm_up()
            assert retriever._own.loaded is not None
    absent = Retriever.open(tmp_path / "index", model=tmp_path / "none")
    with absent, pytest.raises(ModelNotFoundError):
        absent.warm_up()


def test_an_index_of_other_vectors_is_warmed_up(tmp_path: Path) -> None:
    with Retriever.index([], tmp_path / "index", model="nano") as retriever:
        retriever.store.add(["a"], [np.ones((3, retriever.store.dim))], ["of more words than it has vectors"])
        retriever.warm_up()
        assert retriever._own.loaded is not None
        with pytest.raises(InvalidInputError, match="another text or another model"):
            retriever.search("words", explain=True)
