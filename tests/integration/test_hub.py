"""Models and data sets from a hub: huggingface_hub's and ir-datasets' own clients against a server here."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests.adapters
from hub import FakeHub, Fault
from small_sets import QRELS, documents, queries, write_nanobeir

from lfm2_retrieval import Encoder
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import load_suite
from lfm2_retrieval.evaluation.runs import read_run
from lfm2_retrieval.evaluation.sources import from_ir_datasets

LIQUID = "LiquidAI/nanobeir-multilingual-extended"
LIGHTON = "lightonai/nanobeir-multilingual"
PINNED = {entry["name"]: entry for entry in load_suite("nanobeir-multilingual").facts["repositories"]}
COMMITS = {
    LIQUID: PINNED[LIQUID]["revision"],
    LIGHTON: "11" * 20,
    "sentence-transformers/NanoBEIR-en": PINNED["sentence-transformers/NanoBEIR-{language}"]["revisions"][
        "en"
    ],
    "lightonai/NanoBEIR-de": "22" * 20,
}
LAYOUTS = {
    LIQUID: "liquid",
    LIGHTON: "lighton",
    "sentence-transformers/NanoBEIR-{language}": "sentence-transformers",
}

READ = """
import json, sys, time
time.sleep = lambda _: None  # between attempts
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 64  # what is kept of a broken transfer counts in these
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import load_suite

source, languages, offline = json.loads(sys.argv[1])
found = []
suite = load_suite("nanobeir-multilingual")
for ref in suite.refs(["NanoNQ"], languages, repository=source, offline=offline):
    try:
        one = ref.read()
    except InvalidInputError as error:
        found.append(str(error))
    else:
        found.append([dict(one.documents), dict(one.queries), one.qrels, one.source])
print(json.dumps(found))
"""


@pytest.fixture
def hub():
    with FakeHub() as server:
        yield server


@pytest.fixture
def data_hub(hub, tmp_path):
    """The three repositories of data, some of them changed since the commit that is pinned."""
    for layout in LAYOUTS.values():
        write_nanobeir(tmp_path / "sets", layout, languages=("en", "de"))
    (tmp_path / "later").mkdir()
    (tmp_path / "later/README.md").write_text("nothing is left")
    for name, commit in COMMITS.items():
        hub.add("datasets", name, tmp_path / "sets" / name.split("/")[1], commit)
        if commit in (COMMITS[LIQUID], COMMITS["sentence-transformers/NanoBEIR-en"]):
            hub.add("datasets", name, tmp_path / "later", "ff" * 20)
    return hub


def read(hub, home, source, languages, *, offline=False, **variables):
    return hub.run(READ, home, json.dumps([source, languages, offline]), **variables)


def is_whole(found, language):
    texts, asked, qrels, source = found
    assert texts == documents(language)
    assert asked == queries(language)
    assert qrels == QRELS
    assert source["revision"] == COMMITS[source["repository"]]
    return True


@pytest.mark.parametrize("source", LAYOUTS)
def test_a_data_set_is_fetched_at_its_revision_once_and_then_read_offline(data_hub, tmp_path, source):
    found = read(data_hub, tmp_path / "home", source, ["de", "en"])
    assert all(is_whole(one, language) for one, language in zip(found, ("de", "en"), strict=True))
    contents = {path for path in data_hub.fetched if path.endswith(".parquet")}
    assert len(contents) == 5 if source == LIGHTON else 6  # judgements shared by its languages
    assert all("NanoNQ" in path for path in contents)
    data_hub.requests.clear()
    assert read(data_hub, tmp_path / "home", source, ["de", "en"]) == found
    assert not any(path.endswith(".parquet") for path in data_hub.fetched)
    data_hub.requests.clear()
    assert read(data_hub, tmp_path / "home", source, ["de", "en"], offline=True) == found
    assert data_hub.requests == []


def test_a_broken_transfer_goes_on_where_it_was(data_hub, tmp_path):
    name = "NanoNQ_de/corpus-00000-of-00001.parquet"
    data_hub.faults[name] = Fault("close")
    (found,) = read(data_hub, tmp_path / "home", LIQUID, ["de"])
    assert is_whole(found, "de")
    first, second = [
        request for request in data_hub.requests if request.method == "GET" and request.path.endswith(name)
    ]
    assert (first.range, first.status) == (None, 200)
    assert second.status == 206
    assert int(second.range.removeprefix("bytes=").removesuffix("-")) > 0


@pytest.mark.parametrize("fault", ["reset", "truncate", "503"])
def test_what_was_not_fetched_is_named_and_fetched_the_next_time(data_hub, tmp_path, fault):
    name = "NanoNQ_de/corpus-00000-of-00001.parquet"
    data_hub.faults[name] = Fault(fault)
    german, english = read(data_hub, tmp_path / "home", LIQUID, ["de", "en"])
    assert german.startswith("NanoNQ [de]: NanoNQ_de/corpus-*.parquet, ")
    assert f"{LIQUID} at revision {COMMITS[LIQUID]} could not be fetched (" in german
    assert german.endswith("or copy the files to DIR/nanobeir-multilingual-extended/ and give --data DIR")
    assert is_whole(english, "en")
    data_hub.requests.clear()
    (found,) = read(data_hub, tmp_path / "home", LIQUID, ["de"])
    assert is_whole(found, "de")
    assert [path.endswith(name) for path in data_hub.fetched if path.endswith(".parquet")].count(True) == 1


def test_a_wrong_checksum_is_refused_until_the_file_is_fetched_again(data_hub, tmp_path):
    data_hub.faults["NanoNQ_de/corpus-00000-of-00001.parquet"] = Fault("corrupt")
    (refused,) = read(data_hub, tmp_path / "home", LIQUID, ["de"])
    assert refused.endswith(
        "is damaged, its checksum is not the hub's; delete it, so that it is fetched again"
    )
    assert read(data_hub, tmp_path / "home", LIQUID, ["de"], offline=True) == [refused]
    damaged = Path(refused.removeprefix("NanoNQ [de]: ").partition(" is damaged")[0])
    assert damaged.is_relative_to(tmp_path / "home")
    damaged.unlink()
    (found,) = read(data_hub, tmp_path / "home", LIQUID, ["de"])
    assert is_whole(found, "de")


def test_without_a_network_what_is_missing_is_named(data_hub, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    first, second = read(data_hub, tmp_path / "home", LIQUID, ["de", "en"], HF_ENDPOINT=closed)
    assert "could not be fetched (Got: ConnectError: " in first
    assert "are not in the local cache (" in second  # it isn't tried again
    (offline,) = read(data_hub, tmp_path / "home", LIQUID, ["de"], offline=True)
    for message in (first, offline):
        assert "NanoNQ_de_qrels/qrels-*.parquet of the data set" in message
        assert "--data DIR" in message
    assert data_hub.requests == []


def test_what_the_hub_has_not_is_named(hub, tmp_path):
    made = write_nanobeir(tmp_path / "sets", "liquid", ("NanoSciFact",), ("de",))
    (unknown,) = read(hub, tmp_path / "a", LIQUID, ["de"])
    assert "(the hub has no such repository, or it is private and needs a token in HF_TOKEN)" in unknown
    hub.add("datasets", LIQUID, made / "nanobeir-multilingual-extended", "33" * 20)
    (moved,) = read(hub, tmp_path / "b", LIQUID, ["de"])
    assert f"could not be fetched (it has no revision '{COMMITS[LIQUID]}')" in moved
    hub.add("datasets", LIQUID, made / "nanobeir-multilingual-extended", COMMITS[LIQUID])
    (lacking,) = read(hub, tmp_path / "c", LIQUID, ["de"])
    assert f"{LIQUID} at revision {COMMITS[LIQUID]} are not there; copy the files to DIR/" in lacking


LOAD = """
import json, sys
from lfm2_retrieval import Encoder
from lfm2_retrieval.errors import RetrievalError

found = []
for name, revision in json.loads(sys.argv[1]):
    try:
        encoder = Encoder.load(name, revision=revision, device="cpu")
    except RetrievalError as error:
        found.append(f"{type(error).__name__}: {error}")
    else:
        vectors = encoder.encode_documents(["a quiet river"])[0].tolist()
        found.append([vectors, encoder.identity["name"], encoder.identity["revision"], encoder.fingerprint])
print(json.dumps([found, sorted({"evil", "modeling_lfm2", "custom_generate"} & {*sys.modules})]))
"""
EVIL = "raise SystemExit('code of a checkpoint was run')\n"


def as_published(checkpoint, folder):
    """A copy with what the hub's repositories hold beside: code that the configuration asks for, pickles."""
    shutil.copytree(checkpoint, folder)
    raw = json.loads((folder / "config.json").read_text())
    raw["auto_map"] = {"AutoModel": f"modeling_lfm2.{raw['architectures'][0]}"}
    (folder / "config.json").write_text(json.dumps(raw))
    for name in ("modeling_lfm2.py", "tokenizer.py", "custom_generate/generate.py", "evil.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(EVIL)
    for name in ("pytorch_model.bin", "training_args.bin", "tokenizer.pkl", "1_Dense/pytorch_model.bin"):
        (folder / name).write_bytes(b"\x80\x04cos\nsystem\n.")
    (folder / "README.md").write_text("# A model")
    return folder


def test_models_load_by_name_at_a_revision_and_without_code(hub, checkpoint, tmp_path):
    first, second = "LiquidAI/LFM2-ColBERT-350M", "LiquidAI/LFM2.5-ColBERT-350M"
    shapes = {
        "old": {"sharded": True},
        "new": {"layout": "sentence-transformers"},
        "both": {"bidirectional": True, "dim": 8},
    }
    made = {name: as_published(checkpoint(**shape), tmp_path / name) for name, shape in shapes.items()}
    pickled = tmp_path / "pickled"
    shutil.copytree(made["old"], pickled, ignore=shutil.ignore_patterns("*.safetensors*"))
    hub.add("models", first, made["old"], "aa" * 20, main=False)
    hub.add("models", first, made["new"], "bb" * 20)
    hub.add("models", second, made["both"], "cc" * 20)
    hub.add("models", "someone/pickled", pickled, "dd" * 20)
    wanted = [(first, None), (first, "aa" * 20), (second, "main")]
    absent = [(first, "v9"), ("someone/nothing", None), ("someone/pickled", None)]
    found, run = hub.run(LOAD, tmp_path / "home", json.dumps([*wanted, *absent]))
    assert run == []
    for (name, _), loaded, key, commit in zip(wanted, found, ("new", "old", "both"), "bac", strict=False):
        here = Encoder.load(made[key], device="cpu")
        vectors = here.encode_documents(["a quiet river"])[0]
        assert loaded[0] == pytest.approx(vectors, abs=1e-5)  # each process chooses its kernels
        assert loaded[1:] == [name, commit * 40, here.fingerprint]
    no_revision, nothing, no_weights = found[3:]
    assert no_revision.startswith("ModelNotFoundError")
    assert "it has no revision 'v9'" in no_revision
    assert "the hub has no such repository" in nothing
    assert 'model="nano", which is bundled' in nothing
    assert no_weights.startswith("CheckpointError")
    assert "holds no model.safetensors" in no_weights
    assert {Path(path).suffix for path in hub.fetched if "/api/" not in path} == {".json", ".safetensors"}
    hub.requests.clear()
    again, _ = hub.run(LOAD, tmp_path / "home", json.dumps(wanted), HF_HUB_OFFLINE="1")
    for then, now in zip(found[:3], again, strict=True):
        assert now[0] == pytest.approx(np.array(then[0]), abs=1e-5)
        assert now[1:] == then[1:]
    assert hub.requests == []


def test_a_suite_runs_from_the_hub_and_then_offline(data_hub, checkpoint, tmp_path):
    data_hub.add("models", "LiquidAI/LFM2-ColBERT-350M", checkpoint(), "ab" * 20)
    code = "import sys; from lfm2_retrieval.cli import main; main(sys.argv[1:])"
    command = ["eval", "nanobeir", "--languages", "en,de", "--tasks", "NQ", "--no-throughput", "--json"]

    def evaluate(out, *options):
        environment = data_hub.environment(tmp_path / "home")
        return subprocess.run(
            [sys.executable, "-c", code, *command, "--out", str(out), *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    done = evaluate(tmp_path / "a")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["model"]["revision"] == "ab" * 20
    assert content["data"]["NanoNQ.de"]["revision"] == COMMITS[LIQUID]
    data_hub.requests.clear()
    assert evaluate(tmp_path / "b", "--offline").returncode == 0
    assert data_hub.requests == []
    for run in (tmp_path / "a").glob("*.trec"):
        then, now = read_run(run), read_run(tmp_path / "b" / run.name)
        assert now.keys() == then.keys()
        for query, found in then.items():  # each process chooses its kernels, so that near ties may turn
            assert dict(now[query]) == pytest.approx(dict(found), abs=1e-4)


@pytest.fixture
def english(hub, tmp_path, monkeypatch):
    """NanoNQ as ir-datasets fetches it, and a reader of it: with our checksums, or wrong ones."""
    ir_datasets = pytest.importorskip("ir_datasets")
    made = write_nanobeir(tmp_path / "sets", "zeta-alpha", ("NanoNQ",), ("en",)) / "NanoNQ"
    hub.add("datasets", "zeta-alpha-ai/NanoNQ", made, "44" * 20)
    right = {
        part: hashlib.md5((made / part / "train-00000-of-00001.parquet").read_bytes()).hexdigest()
        for part in ("corpus", "queries", "qrels")
    }
    known = ir_datasets.util.DownloadConfig.context("nano-beir").contents()
    for part, digest in right.items():
        monkeypatch.setitem(known[f"nq/{'docs' if part == 'corpus' else part}"], "expected_md5", digest)
    send = requests.adapters.HTTPAdapter.send

    def rerouted(self, request, **options):
        request.url = request.url.replace("https://huggingface.co", hub.url)
        return send(self, request, **options)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", rerouted)
    monkeypatch.setattr(ir_datasets.util, "home_path", lambda: tmp_path / "ir")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("IR_DATASETS_DL_TRIES", "1")

    def read_english(ours=right, *, offline=False):
        (ref,) = from_ir_datasets(
            {"NanoNQ": {"id": "nano-beir/nq", "md5": ours}}, ["NanoNQ"], offline=offline
        )
        return ref.read()

    return read_english, right, tmp_path / "ir/nano-beir/nq"


def test_english_is_fetched_through_ir_datasets_and_held_to_its_checksums(hub, english):
    read_english, right, home = english
    found = read_english()
    assert (found.documents, found.queries, found.qrels) == (documents("en"), queries("en"), QRELS)
    assert found.source["md5"] == right
    resolved = "/datasets/zeta-alpha-ai/NanoNQ/resolve/main/{}/train-00000-of-00001.parquet"
    asked = [request.path for request in hub.requests if request.status == 302]
    assert asked == [resolved.format(part) for part in ("corpus", "queries", "qrels")]
    assert {file.name for file in home.iterdir()} == {"corpus.parquet", "qrels.parquet", "queries.parquet"}
    hub.requests.clear()
    assert read_english(offline=True) == read_english() == found
    assert hub.requests == []
    (home / "corpus.parquet").write_bytes((home / "corpus.parquet").read_bytes()[:-1])
    with pytest.raises(InvalidInputError, match=r"corpus\.parquet: its MD5 is .*; delete it"):
        read_english()
    (home / "corpus.parquet").unlink()
    with pytest.raises(InvalidInputError, match="without a network these files are missing"):
        read_english(offline=True)
    assert read_english() == found
    assert [request.path for request in hub.requests if request.status == 302] == [resolved.format("corpus")]


def test_what_ir_datasets_fetches_with_a_wrong_checksum_is_refused(hub, english):
    read_english, right, home = english
    hub.faults["queries/train-00000-of-00001.parquet"] = Fault("corrupt")
    with pytest.raises(InvalidInputError) as caught:
        read_english()
    assert f"could not be fetched: {home}/corpus.parquet" in str(caught.value)
    assert "Expected md5 hash to be" in str(caught.value)
    assert "copy them there from https://huggingface.co/datasets/zeta-alpha-ai/NanoNQ" in str(caught.value)
    assert [file.name for file in home.iterdir()] == ["corpus.parquet"]  # nothing damaged is left
    with pytest.raises(InvalidInputError, match=r"qrels\.parquet: its MD5 is"):
        read_english(right | {"qrels": "0" * 32})
    assert read_english().documents == documents("en")


def test_english_without_a_network_names_files_and_place(hub, english, monkeypatch):
    read_english, _, home = english
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(FakeHub, "url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(InvalidInputError) as caught:
        read_english()
    message = str(caught.value)
    assert message.startswith(f"NanoNQ [en]: these files could not be fetched: {home}/corpus.parquet, ")
    assert "Max retries exceeded" in message
    assert message.endswith("or give --data DIR")
    assert hub.requests == []


def test_our_checksums_and_names_are_those_of_ir_datasets():
    ir_datasets = pytest.importorskip("ir_datasets")
    for task, facts in load_suite("nanobeir").facts["sets"].items():
        collection, _, name = facts["id"].partition("/")
        known = ir_datasets.util.DownloadConfig.context(collection).contents()
        for part, digest in facts["md5"].items():
            entry = known[f"{name}/{'docs' if part == 'corpus' else part}"]
            assert f"/zeta-alpha-ai/{task}/resolve/" in entry["url"]
            assert entry["expected_md5"] == digest
            assert entry["cache_path"] == f"{name}/{part}.parquet"
