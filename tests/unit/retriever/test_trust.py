"""An index doesn't choose which model is loaded."""

import json
import shutil
import sqlite3

import pytest
from click.testing import CliRunner

from lfm2_retrieval import Retriever
from lfm2_retrieval.cli import main
from lfm2_retrieval.encoder import Encoder, is_hub_name
from lfm2_retrieval.encoder import checkpoint as loading
from lfm2_retrieval.errors import (
    DamagedIndexError,
    ModelNotFoundError,
    RetrievalError,
    UntrustedModelError,
)
from lfm2_retrieval.indexes.catalogue import rows

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def own(tmp_path_factory, checkpoint):
    """An index made with a folder's model."""
    path = tmp_path_factory.mktemp("trust") / "index"
    Retriever.index(["the fox", "the rain"], path, model=checkpoint()).close()
    return path


@pytest.fixture
def index(own, tmp_path):
    shutil.copytree(own, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def asked(monkeypatch):
    """What the hub was asked for; it has nothing."""
    names = []

    def fetch(name, patterns, *, revision=None, **_):
        names.append((name, revision))
        raise FileNotFoundError("no network in tests")

    monkeypatch.setattr(loading, "fetch", fetch)
    return names


def record(path, **changed):
    """Change what an index says of its model."""
    connection = sqlite3.connect(path / "index.db")
    with connection:
        (value,) = connection.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        value = json.dumps(json.loads(value) | changed)
        connection.execute(
            "UPDATE settings SET value = ?, crc32 = ? WHERE key = 'encoder'",
            (value, rows.checksum("encoder", value)),
        )
    connection.close()


USES = [
    lambda path, **how: Retriever.open(path, **how).search("fox"),
    lambda path, **how: Retriever.open(path, **how).search("fox", mode="hybrid"),
    lambda path, **how: Retriever.open(path, **how).search("fox", mode="lexical", explain=True),
    lambda path, **how: Retriever.open(path, **how).add(["more"]),
    lambda path, **how: Retriever.open(path, **how).rerank("fox", ids=["0"]),
    lambda path, **how: Retriever.index(["more"], path, if_exists="append", **how),
]


@pytest.mark.parametrize("use", USES, ids=range(len(USES)))
def test_a_folder_that_an_index_names_is_loaded_only_if_the_user_says_so(index, checkpoint, use):
    with pytest.raises(UntrustedModelError, match=r"model=.*trust_model=True") as raised:
        use(index)
    assert str(checkpoint()) in str(raised.value)
    use(index, model=checkpoint())
    if use is not USES[-1]:
        use(index, trust_model=True)


def test_words_are_searched_without_a_model(index):
    with Retriever.open(index) as retriever:
        assert retriever.search("fox", mode="lexical")


@pytest.mark.parametrize(
    ("name", "revision"),
    [
        ("somebody/model", COMMIT),
        ("somebody/model", None),
        ("LiquidAI/LFM2-ColBERT-350M", "refs/pr/1"),
        ("LiquidAI/LFM2-ColBERT-350M", "main"),
        ("liquidai/LFM2-ColBERT-350M", COMMIT),
        ("LiquidAI/LFM2-ColBERT-350M/", COMMIT),
        ("LiquidAI/LFM2-ColBERT-350M\n", COMMIT),
        ("./LiquidAI/LFM2-ColBERT-350M", COMMIT),
        ("../nano", None),
        ("nano/", None),
        ("~/model", None),
        ("", None),
    ],
)
def test_the_hub_is_not_asked_for_what_an_index_names(index, asked, name, revision):
    record(index, name=name, revision=revision)
    with Retriever.open(index) as retriever, pytest.raises(UntrustedModelError, match="model="):
        retriever.search("fox")
    assert not asked


@pytest.mark.parametrize("name", ["LiquidAI/LFM2-ColBERT-350M", "LiquidAI/LFM2.5-ColBERT-350M"])
def test_the_published_models_are_loaded_from_the_hub_whatever_lies_here(
    index, asked, name, tmp_path, monkeypatch, checkpoint
):
    shutil.copytree(checkpoint(), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    record(index, name=name, revision=COMMIT)
    with Retriever.open(index) as retriever, pytest.raises(ModelNotFoundError):
        retriever.search("fox")
    assert asked == [(name, COMMIT)]


@pytest.mark.parametrize("name", ["model", "./here/model", "here/../here/model", "~/model", "a\0b"])
def test_a_relative_folder_that_an_index_names_is_never_loaded(
    index, asked, name, tmp_path, monkeypatch, checkpoint
):
    for place in ("model", "here/model"):
        shutil.copytree(checkpoint(), tmp_path / place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    record(index, name=name)
    with (
        Retriever.open(index, trust_model=True) as retriever,
        pytest.raises(ModelNotFoundError, match="model="),
    ):
        retriever.search("fox")
    assert not asked


def test_a_hub_name_means_no_folder(asked, tmp_path, monkeypatch, checkpoint):
    shutil.copytree(checkpoint(), tmp_path / "own" / "model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"\./own/model"):
        Encoder.load("own/model")
    assert asked == [("own/model", None)]
    for folder in ("./own/model", "own/model/", tmp_path / "own" / "model", str(tmp_path / "own" / "model")):
        assert Encoder.load(folder).name == str(tmp_path / "own" / "model")
    monkeypatch.chdir(tmp_path / "own")
    assert Encoder.load("model").name == str(tmp_path / "own" / "model")


@pytest.mark.parametrize("name", ["a/b", "LiquidAI/LFM2.5-ColBERT-350M", "a_b/c.d-e"])
def test_hub_names(name):
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["nano", "./a/b", "/a/b", "a/b/c", "~/b", "a/", "/b", "a/b\n", "../b", ".a/b"]
)
def test_others_are_no_hub_names(name):
    assert not is_hub_name(name)


@pytest.mark.parametrize(
    "recorded", ["x", 5, [["name", 1]], {"name": "nano"}, {"name": 3, "fingerprint": "x"}]
)
def test_a_record_that_cannot_be_is_damage(index, recorded):
    connection = sqlite3.connect(index / "index.db")
    value = json.dumps(recorded)
    with connection:
        connection.execute(
            "UPDATE settings SET value = ?, crc32 = ? WHERE key = 'encoder'",
            (value, rows.checksum("encoder", value)),
        )
    connection.close()
    with pytest.raises(DamagedIndexError, match="encoder"):
        Retriever.open(index).search("fox")


@pytest.mark.parametrize(
    ("part", "value"),
    [("pool_factor", "x"), ("document_length", 1e308), ("long_documents", []), ("protected_tokens", {})],
)
def test_options_that_cannot_be_are_damage(index, part, value):
    record(index, **{part: value})
    with Retriever.open(index) as retriever, pytest.raises(DamagedIndexError, match="encoder"):
        retriever.search("fox")
    with pytest.raises(RetrievalError):
        Retriever.index(["more"], index, if_exists="append", pool_factor=2)


def test_the_command_line_says_how(index, tmp_path, checkpoint):
    (tmp_path / "more.txt").write_text("more")
    more = str(tmp_path / "more.txt")
    commands = [
        ["search", str(index), "fox"],
        ["add", str(index), "--input", more],
        ["tune", str(index), "--queries", more],
        ["index", str(index), "--input", more, "--if-exists", "append"],
    ]
    for arguments in commands:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1, result.output
        assert "--model," in result.output
        assert "--trust-model" in result.output
    for given in (["--trust-model"], ["--model", str(checkpoint())]):
        result = CliRunner().invoke(main, [*commands[0], *given])
        assert result.exit_code == 0, result.output


def test_repair_asks_before_it_drops_vectors(index):
    segment = next((index / "segments").iterdir()) / "vectors.npy"
    data = bytearray(segment.read_bytes())
    data[-200:] = bytes(200)
    segment.write_bytes(data)
    with pytest.raises(UntrustedModelError, match="model="):
        Retriever.repair(index)
    assert index.is_dir()
    assert not index.with_name("index.damaged").exists()
    report = Retriever.repair(index, trust_model=True)
    assert report.encoded
    assert not report.without_vectors
