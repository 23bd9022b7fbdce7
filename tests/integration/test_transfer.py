"""Indexes handed over to databases and files, and made of what others left."""

from __future__ import annotations

import json
import pickle
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from lfm2_retrieval import Encoder, Index, Retriever
from lfm2_retrieval.cli import main
from lfm2_retrieval.documents import Passages
from lfm2_retrieval.errors import IndexExistsError, InvalidInputError, MissingExtraError
from lfm2_retrieval.integrations.transfer import export_index, exporting, import_index, rows

DIM = 16
WORDS = "rain falls on quiet hills while rivers carry boats past old towns and people sell bread"


def draw(count, seed=0, longest=9):
    dice = np.random.default_rng(seed)
    drawn = [
        dice.standard_normal((n, DIM)).astype(np.float16)
        for n in dice.integers(longest // 3 * 2, longest, count)
    ]
    return [
        one / np.linalg.norm(one.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
        for one in drawn
    ]


@pytest.fixture(scope="module")
def index():
    """Enough vectors to be compressed, in several batches; one document has none, one no text."""
    vectors = [*draw(110, longest=60), np.empty((0, DIM), np.float16)]
    texts = [f"text {n}" if n != 5 else None for n in range(111)]
    metadata = [{"n": n, "nested": {"a": [1, None]}, "ü": "ß"} for n in range(111)]
    with Index.create(
        None, DIM, tier="accurate", settings={"encoder": {"name": "x", "fingerprint": "y"}}
    ) as index:
        index.add([f"id/{n}" for n in range(111)], vectors, texts, metadata)
        index.build(force=True)
        assert index.codec_facts is not None
        yield index


def same(one, other, skip=()):
    """Whether two indexes hold the same documents, and vectors up to what codes lose."""
    assert list(one.ids()) == [id for id in other.ids() if id not in skip]
    for a, b in zip(one.documents(), other.documents(), strict=False):
        assert (a.id, a.text, a.metadata) == (b.id, b.text, b.metadata)
    ids = one.ids()[:50]
    np.testing.assert_allclose(one.embeddings(ids).embeddings, other.embeddings(ids).embeddings, atol=2e-3)


def test_parquet_there_and_back(index, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MOST_TOKENS", 500)
    told = []
    assert export_index(index, "parquet", tmp_path / "a.parquet", on_progress=told.append) == 111
    assert told[-1] == 111
    assert len(told) > 8
    with import_index(tmp_path / "a.parquet", tmp_path / "made", tier="exact") as made:
        same(made, index)
        assert made.settings["encoder"] == {"name": "x", "fingerprint": "y"}
        query = index.embeddings(["id/7"])
        assert made.search(query, k=1)[0][0].id == "id/7"
    with pytest.raises(IndexExistsError, match="choose another"):
        export_index(index, "parquet", tmp_path / "a.parquet")
    with pytest.raises(IndexExistsError):
        import_index(tmp_path / "a.parquet", tmp_path / "made")
    with pytest.raises(InvalidInputError, match="lies in the index"):
        export_index(index, "parquet", index.path / "a.parquet")
    with pytest.raises(InvalidInputError, match="qdrant, qdrant-edge, lancedb, parquet"):
        export_index(index, "sqlite", tmp_path / "x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.parquet", "made"]


def test_nothing_is_left_of_an_export_that_failed(index, tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(exporting, "_record", broken)
    with pytest.raises(OSError, match="make room"):
        export_index(index, "parquet", tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_qdrant_finds_what_the_index_finds(index, tmp_path):
    qdrant_client = pytest.importorskip("qdrant_client")
    assert export_index(index, "qdrant", tmp_path / "q") == 111
    client = qdrant_client.QdrantClient(path=str(tmp_path / "q"))
    assert client.count("documents").count == 110  # all but the one without vectors
    query = index.embeddings(["id/33"]).embeddings
    points = client.query_points("documents", query=query.tolist(), using="colbert", limit=5).points
    [hits] = index.search([query], k=5)
    assert points[0].payload == {
        "id": "id/33",
        "text": "text 33",
        "metadata": dict(index.get("id/33").metadata),
    }
    assert [one.payload["id"] for one in points] == [hit.id for hit in hits]
    np.testing.assert_allclose([one.score for one in points], [hit.score for hit in hits], atol=1e-3)
    client.close()
    with pytest.raises(IndexExistsError):
        export_index(index, "qdrant", tmp_path / "q")


def test_qdrant_edge_finds_what_the_index_finds(index, tmp_path):
    edge = pytest.importorskip("qdrant_edge")
    assert export_index(index, "qdrant-edge", tmp_path / "e") == 111
    shard = edge.EdgeShard.load(str(tmp_path / "e"))
    assert shard.info().points_count == 110  # all but the one without vectors
    query = index.embeddings(["id/33"]).embeddings
    nearest = edge.Query.Nearest(query.tolist(), using="colbert")
    points = shard.query(edge.QueryRequest(limit=5, query=nearest, with_payload=True))
    shard.close()
    [hits] = index.search([query], k=5)
    metadata = dict(index.get("id/33").metadata)
    assert points[0].payload == {"id": "id/33", "text": "text 33", "metadata": metadata}
    assert [one.payload["id"] for one in points] == [hit.id for hit in hits]
    np.testing.assert_allclose([one.score for one in points], [hit.score for hit in hits], atol=1e-3)
    with pytest.raises(IndexExistsError):
        export_index(index, "qdrant-edge", tmp_path / "e")


def test_lancedb_finds_what_the_index_finds(index, tmp_path):
    lancedb = pytest.importorskip("lancedb")
    assert export_index(index, "lancedb", tmp_path / "l", name="mine") == 111
    table = lancedb.connect(tmp_path / "l").open_table("mine")
    assert table.count_rows() == 111
    query = index.embeddings(["id/33"]).embeddings
    found = table.search(query, vector_column_name="vectors").distance_type("cosine").limit(3).to_list()
    assert found[0]["id"] == "id/33"
    assert json.loads(found[0]["metadata"]) == dict(index.get("id/33").metadata)


def test_passages_say_where_they_lie(checkpoint, tmp_path):
    text = "\n\n".join(f"{WORDS} {n}." for n in range(4))
    documents = [{"id": "doc", "text": text, "year": 2020}]
    path = tmp_path / "i"
    with Retriever.index(
        documents, path, model=Encoder.load(checkpoint()), passages=Passages(tokens=24)
    ) as library:
        export_index(library.store, "parquet", tmp_path / "p.parquet")
        with import_index(tmp_path / "p.parquet", tmp_path / "made") as made:
            assert list(made.ids()) == [f"doc#{n}" for n in range(1, library.n_passages + 1)]
            for entry in made.documents():
                place = entry.metadata["lfm2"]
                start, end = place["span"]
                assert (place["document_id"], entry.metadata["year"]) == ("doc", 2020)
                assert text[start:end] == entry.text
        with Retriever.open(tmp_path / "made", model=library.encoder) as again:
            query = "rain falls"
            assert [hit.score for hit in again.search(query)] == [hit.score for hit in library.search(query)]


def test_arrays(tmp_path):
    vectors = draw(5)
    flat, offsets = np.concatenate(vectors), np.cumsum([0, *map(len, vectors)])
    np.savez(tmp_path / "named.npz", **{f"doc {n}": one for n, one in enumerate(vectors)})
    np.savez(tmp_path / "flat.npz", embeddings=flat, offsets=offsets, ids=np.array(list("abcde")))
    np.save(tmp_path / "flat.npy", flat)
    np.save(tmp_path / "flat.offsets.npy", offsets)
    (tmp_path / "ids.txt").write_text("".join(f"n{n}\n" for n in range(5)))
    lines = [json.dumps({"id": f"j{n}", "text": "t", "metadata": {"n": n}}) + "\n" for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    for name, given, wanted in (
        ("named.npz", None, ["doc 0", "doc 1", "doc 2", "doc 3", "doc 4"]),
        ("flat.npz", None, list("abcde")),
        ("flat.npz", "ids.txt", [f"n{n}" for n in range(5)]),
        ("flat.npy", None, list("01234")),
        ("flat.npy", "rows.jsonl", [f"j{n}" for n in range(5)]),
    ):
        ids = None if given is None else tmp_path / given
        with import_index(tmp_path / name, tmp_path / f"{name}-{given}", ids=ids) as made:
            assert list(made.ids()) == wanted
            np.testing.assert_array_equal(made.embeddings(wanted[2:4])[0], vectors[2])
    with Index.open(tmp_path / "flat.npy-rows.jsonl") as made:
        assert (made.get("j3").text, made.get("j3").metadata) == ("t", {"n": 3})


def bad_sources(folder):
    np.save(folder / "lone.npy", np.ones((3, 4)))
    np.savez(folder / "objects.npz", a=np.array([1, "x"], dtype=object))
    np.savez(folder / "flat1.npz", a=np.ones(3))
    np.savez(folder / "offsets.npz", embeddings=np.ones((3, 4)), offsets=np.array([0, 5]))
    np.savez(folder / "widths.npz", a=np.ones((2, 4)), b=np.ones((2, 5)))
    np.savez(folder / "nan.npz", a=np.full((2, 4), np.nan))
    np.savez(folder / "good.npz", a=np.ones((2, 4)), b=np.ones((1, 4)))
    (folder / "one.txt").write_text("x\n")
    (folder / "three.txt").write_text("x\ny\nz\n")
    (folder / "twice.txt").write_text("x\nx\n")
    (folder / "noid.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (folder / "broken.parquet").write_bytes(b"PAR1")
    (folder / "x.csv").write_text("a")
    (folder / "folder").mkdir()


@pytest.mark.parametrize(
    ("source", "ids", "told"),
    [
        ("none.npz", None, "no such file"),
        ("lone.npy", None, "offsets.npy"),
        ("objects.npz", None, "arrays of numbers"),
        ("flat1.npz", None, r"\[n_tokens, dim\]"),
        ("offsets.npz", None, "rise from 0 to 3"),
        ("widths.npz", None, "of one dim"),
        ("nan.npz", None, "NaN"),
        ("good.npz", "one.txt", "fewer ids"),
        ("good.npz", "three.txt", "more ids"),
        ("good.npz", "twice.txt", "twice"),
        ("good.npz", "noid.jsonl", "empty"),
        ("broken.parquet", None, "Parquet"),
        ("x.csv", None, r"\.parquet, \.npz"),
        ("folder", None, "PyLate"),
    ],
)
def test_bad_sources_leave_nothing(tmp_path, source, ids, told):
    bad_sources(tmp_path)
    with pytest.raises(InvalidInputError, match=told):
        import_index(tmp_path / source, tmp_path / "made", ids=None if ids is None else tmp_path / ids)
    assert not (tmp_path / "made").exists()


def test_parquet_of_others(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    vectors = [one.astype(np.float64).tolist() for one in draw(3)]
    columns = {"_id": [1, 2, 3], "emb": vectors, "text": ["a", None, "c"], "year": [1, 2, None]}
    columns["metadata"] = [{"lang": "de"}, None, {"lang": "en"}]
    parquet.write_table(pa.table(columns), tmp_path / "o.parquet")
    with import_index(tmp_path / "o.parquet", tmp_path / "made", vectors="emb") as made:
        assert list(made.ids()) == ["1", "2", "3"]
        assert made.get("1").metadata == {"year": 1, "lang": "de"}
    for table, told in (
        ({"id": ["a"]}, "vectors"),
        ({"vectors": [[[1.0]]]}, "no column 'id'"),
        ({"id": ["a"], "vectors": [[1.0]]}, "lists of vectors"),
        ({"id": ["a"], "vectors": [[["x"]]]}, "lists of vectors"),
        ({"id": ["a"], "vectors": [[[1.0], [1.0, 2.0]]]}, "one width"),
        ({"id": ["a", "b"], "vectors": [[[1.0]], None]}, "lists of vectors"),
        ({"id": ["a"], "vectors": [[[1.0]]], "metadata": ["{"]}, "JSON"),
    ):
        parquet.write_table(pa.table(table), tmp_path / "bad.parquet")
        with pytest.raises(InvalidInputError, match=told):
            import_index(tmp_path / "bad.parquet", tmp_path / "bad")


@pytest.mark.parametrize(("bits", "merged"), [(2, True), (4, False), (1, True)])
def test_a_folder_of_pylate(tmp_path, bits, merged):
    """As fast-plaid writes it: bytes of numbers, each with its least bit first, in pieces or merged."""
    dice = np.random.default_rng(bits)
    inner = tmp_path / "colbert/fast_plaid_index"
    inner.mkdir(parents=True)
    centroids = dice.standard_normal((9, DIM)).astype(np.float16)
    weights = np.sort(dice.standard_normal(1 << bits)).astype(np.float32) * 0.1
    np.save(inner / "centroids.npy", centroids)
    np.save(inner / "bucket_weights.npy", weights)
    lengths = [[3, 0, 5], [4, 2]]
    total = sum(map(sum, lengths))
    codes, numbers = dice.integers(0, 9, total), dice.integers(0, 1 << bits, (total, DIM))
    packed = np.zeros((total, DIM * bits // 8), np.uint8)
    for row in range(total):
        told = "".join(format(number, f"0{bits}b")[::-1] for number in numbers[row])
        packed[row] = [int(told[at : at + 8], 2) for at in range(0, len(told), 8)]
    for n, some in enumerate(lengths):
        (inner / f"doclens.{n}.json").write_text(json.dumps(some))
    if merged:
        np.save(inner / "merged_codes.npy", np.concatenate([codes, [99] * 7]))
        np.save(inner / "merged_residuals.npy", np.concatenate([packed, packed[:7]]))
    else:
        for n, part in enumerate((slice(0, 8), slice(8, None))):
            np.save(inner / f"{n}.codes.npy", codes[part])
            np.save(inner / f"{n}.residuals.npy", packed[part])
    with sqlite3.connect(tmp_path / "colbert/plaid_ids_to_documents_ids.sqlite") as table:
        table.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        stored = [(str(n), pickle.dumps(f"doc{n}")) for n in (4, 0, 3, 1, 2)]
        table.executemany("INSERT INTO unnamed VALUES (?, ?)", stored)
    wanted = centroids[codes].astype(np.float32) + weights[numbers]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    with import_index(tmp_path / "colbert", tmp_path / "made") as made:
        assert list(made.ids()) == [f"doc{n}" for n in range(5)]
        found = made.embeddings([f"doc{n}" for n in range(5)])
        assert found.lengths.tolist() == [3, 0, 5, 4, 2]
        np.testing.assert_allclose(found.embeddings, wanted, atol=1e-3)
    with import_index(inner, tmp_path / "numbered") as made:
        assert list(made.ids()) == list("01234")
    with sqlite3.connect(tmp_path / "colbert/plaid_ids_to_documents_ids.sqlite") as table:
        table.execute("UPDATE unnamed SET value = ? WHERE key = '0'", (b"cos\nsystem\n(S'true'\ntR.",))
    with pytest.raises(InvalidInputError, match=r"asks for os\.system"):
        import_index(tmp_path / "colbert", tmp_path / "bad")
    (inner / "doclens.1.json").write_text("[4, 200]")
    with pytest.raises(InvalidInputError, match=r"doclens\.1"):
        import_index(inner, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_folders_of_colbert_are_decoded(tmp_path, bits):
    """As its residual codec writes them, by its paper's code: number by number, the least bit first."""
    torch = pytest.importorskip("torch")
    dice = torch.Generator().manual_seed(bits)
    folder = tmp_path / "colbert"
    folder.mkdir()
    centroids = torch.randn(9, DIM, generator=dice).half()
    weights = (torch.randn(1 << bits, generator=dice).sort().values * 0.1).half()
    torch.save(centroids, folder / "centroids.pt")
    torch.save((torch.zeros((1 << bits) - 1), weights), folder / "buckets.pt")
    torch.save(torch.tensor(0.1), folder / "avg_residual.pt")
    lengths, wanted = [[3, 0, 5], [4, 2]], []
    for n, some in enumerate(lengths):
        total = sum(some)
        codes = torch.randint(0, 9, (total,), generator=dice, dtype=torch.int32)
        numbers = torch.randint(0, 1 << bits, (total, DIM), generator=dice).to(torch.uint8)
        each = (numbers.unsqueeze(-1) >> torch.arange(bits, dtype=torch.uint8)) & 1
        packed = np.packbits(each.numpy().reshape(total, -1), axis=1)
        torch.save(codes, folder / f"{n}.codes.pt")
        torch.save(torch.from_numpy(packed), folder / f"{n}.residuals.pt")
        (folder / f"doclens.{n}.json").write_text(json.dumps(some))
        (folder / f"{n}.metadata.json").write_text(
            json.dumps({"passage_offset": 0, "num_passages": len(some)})
        )
        vectors = centroids[codes.long()].float() + weights[numbers.long()].float()
        wanted.append(torch.nn.functional.normalize(vectors, dim=-1).numpy())
    (folder / "metadata.json").write_text(json.dumps({"config": {"nbits": bits}, "num_chunks": 2}))
    with import_index(folder, tmp_path / "made") as made:
        assert list(made.ids()) == list("01234")
        found = made.embeddings(list("01234"))
        assert found.lengths.tolist() == [3, 0, 5, 4, 2]
        np.testing.assert_allclose(found.embeddings, np.concatenate(wanted), atol=1e-3)
    (folder / "1.codes.pt").write_bytes(pickle.dumps(print))
    with pytest.raises(InvalidInputError, match=r"1\.codes\.pt can't be read as tensors"):
        import_index(folder, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_commands(index, tmp_path, monkeypatch):
    run = CliRunner().invoke
    done = run(main, ["export", str(index.path), "--to", "parquet", "-o", str(tmp_path / "a.parquet")])
    assert done.exit_code == 0, done.output
    done = run(main, ["import", str(tmp_path / "made"), str(tmp_path / "a.parquet"), "--tier", "compact"])
    assert done.exit_code == 0, done.output
    assert "111 documents" in done.output
    done = run(main, ["export", str(index.path), "--to", "parquet", "-o", str(tmp_path / "a.parquet")])
    assert (done.exit_code, "choose another name" in done.output) == (1, True)
    assert run(main, ["export", str(index.path), "--to", "parquet"]).exit_code == 2
    done = run(main, ["import", str(tmp_path / "n"), str(tmp_path / "a.parquet"), "--model", "nano"])
    assert (done.exit_code, "of 128 dimensions" in done.output) == (1, True)
    monkeypatch.setattr("lfm2_retrieval.cli._extras._is_there", lambda name: name != "lancedb")
    done = run(main, ["export", str(index.path), "--to", "lancedb", "-o", str(tmp_path / "l")])
    assert (done.exit_code, "lfm2-retrieval[lancedb]" in done.output) == (1, True)


def test_a_missing_client_is_named(index, tmp_path, monkeypatch):
    for module, target in (
        ("qdrant_client", "qdrant"),
        ("qdrant_edge", "qdrant-edge"),
        ("lancedb", "lancedb"),
        ("pyarrow", "parquet"),
    ):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"lfm2-retrieval\[{target}\]"):
            export_index(index, target, tmp_path / target)
    assert list(tmp_path.iterdir()) == []
