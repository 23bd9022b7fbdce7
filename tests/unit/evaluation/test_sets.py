"""Folders, parquet layouts, the hub and ir-datasets; and what is refused."""

import gzip
import hashlib
import json
import re
import shutil

import pytest
from small_sets import (
    LANGUAGES,
    QRELS,
    documents,
    parquet_parts,
    queries,
    write_beir,
    write_nanobeir,
    write_table,
)

from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import Dataset, from_folder, load_suite
from lfm2_retrieval.evaluation.datasets import split_name
from lfm2_retrieval.evaluation.sources import choose, from_hub, from_ir_datasets


def is_whole(dataset, language):
    assert dict(dataset.documents) == documents(language)
    assert dict(dataset.queries) == queries(language)
    assert dataset.qrels == QRELS
    assert all(len(digest) == 64 for digest in dataset.source["files"].values())
    assert len(dataset.source["files"]) >= 3


def test_a_folder_of_folders_is_a_family(family):
    refs = from_folder(family)
    assert sorted((ref.task, ref.language) for ref in refs) == [("set", "de"), ("set", "en"), ("set", "fr")]
    for ref in refs:
        is_whole(ref.load(), ref.language)
        assert ref.count() == 12


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("xquad-en", ("xquad", "en")),
        ("xquad-r-zh", ("xquad-r", "zh")),
        ("qmsum-en-train", ("qmsum-en-train", "und")),
        ("my-qa", ("my-qa", "und")),
        ("en", ("en", "und")),
    ],
)
def test_a_name_tells_the_language(name, parts):
    assert split_name(name) == parts


@pytest.mark.parametrize(
    "layout", ["sentence-transformers", "liquid", "lighton", "converted", "converted-split"]
)
def test_every_multilingual_layout_of_nanobeir_is_read(tmp_path, layout):
    refs = from_folder(write_nanobeir(tmp_path, layout))
    assert sorted((ref.task, ref.language) for ref in refs) == sorted(
        (task, language) for task in ("NanoNQ", "NanoSciFact") for language in LANGUAGES
    )
    for ref in refs:
        assert ref.count() == 12
        is_whole(ref.load(), ref.language)


def test_the_english_originals_are_read(tmp_path):
    refs = from_folder(write_nanobeir(tmp_path, "zeta-alpha", languages=("en",)))
    assert [(ref.task, ref.language) for ref in refs] == [("NanoNQ", "en"), ("NanoSciFact", "en")]
    is_whole(refs[0].load(), "en")


@pytest.mark.parametrize("layout", ["sentence-transformers", "liquid", "lighton"])
def test_suites_take_files_from_a_folder(tmp_path, layout):
    folder = write_nanobeir(tmp_path, layout)
    refs = load_suite("nanobeir-multilingual").refs(["nq"], ["de", "fr"], folder=folder)
    assert [(ref.task, ref.language) for ref in refs] == [("NanoNQ", "de"), ("NanoNQ", "fr")]
    is_whole(refs[0].load(), "de")


def test_a_suite_takes_files_as_ir_datasets_calls_them(tmp_path):
    for name in ("nq", "climate-fever", "webis-touche2020"):
        for part, rows in parquet_parts("en").items():
            write_table(tmp_path / "nano-beir" / name / f"{part}.parquet", rows)
    refs = load_suite("nanobeir").refs(folder=tmp_path)
    assert sorted(ref.task for ref in refs) == ["NanoClimateFEVER", "NanoNQ", "NanoTouche2020"]
    assert {ref.load().task for ref in refs} == {ref.task for ref in refs}
    is_whole(refs[0].load(), "en")
    write_nanobeir(tmp_path, "zeta-alpha", ("NanoNQ",), ("en",))
    with pytest.raises(InvalidInputError, match=r"holds NanoNQ \[en\] twice"):
        load_suite("nanobeir").refs(folder=tmp_path)


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ("sentence-transformers", "NanoBEIR-de/qrels/NanoNQ-00000-of-00001.parquet"),
        ("liquid", "nanobeir-multilingual-extended/NanoNQ_de_qrels/qrels-00000-of-00001.parquet"),
        ("lighton", "nanobeir-multilingual/NanoNQ_de/queries-00000-of-00001.parquet"),
    ],
)
def test_a_missing_half_is_named(tmp_path, layout, part):
    folder = write_nanobeir(tmp_path, layout)
    (folder / part).unlink()
    for ref in from_folder(folder):
        if (ref.task, ref.language) == ("NanoNQ", "de"):
            with pytest.raises(InvalidInputError, match=r"NanoNQ \[de\].*parquet is missing; fetch it"):
                ref.load()
        elif layout != "lighton":
            ref.load()


def test_a_truncated_parquet_file_is_named(tmp_path):
    folder = write_nanobeir(tmp_path, "sentence-transformers", languages=("en",))
    path = folder / "NanoBEIR-en/corpus/NanoNQ-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    ref = next(ref for ref in from_folder(folder) if ref.task == "NanoNQ")
    assert ref.count() == 0
    with pytest.raises(InvalidInputError, match=r"NanoNQ-00000-of-00001\.parquet: can't be read as parquet"):
        ref.load()


def test_a_missing_column_is_named(tmp_path):
    folder = write_nanobeir(tmp_path, "sentence-transformers", languages=("en",))
    write_table(folder / "NanoBEIR-en/queries/NanoNQ-00000-of-00001.parquet", [{"id": "q0", "text": "x"}])
    ref = next(ref for ref in from_folder(folder) if ref.task == "NanoNQ")
    with pytest.raises(InvalidInputError, match="has no column '_id'; it has id, text"):
        ref.load()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("q0", "nowhere")], r"'q0' the document 'nowhere' is judged, but not in the corpus"),
        ([("nobody", "d0")], r"query 'nobody' is judged, but not among the queries"),
    ],
)
def test_judgements_of_what_is_not_there_are_refused(tmp_path, rows, message):
    folder = write_nanobeir(tmp_path, "sentence-transformers", languages=("en",))
    path = folder / "NanoBEIR-en/qrels/NanoNQ-00000-of-00001.parquet"
    write_table(path, [{"query-id": q, "corpus-id": d} for q, d in rows])
    ref = next(ref for ref in from_folder(folder) if ref.task == "NanoNQ")
    with pytest.raises(InvalidInputError, match=message):
        ref.load()
    tsv = write_beir(tmp_path / "plain") / "qrels/test.tsv"
    tsv.write_text("".join(f"{q}\t{d}\t1\n" for q, d in rows))
    with pytest.raises(InvalidInputError, match=message.split(" ")[-1]):
        from_folder(tmp_path / "plain")[0].load()


def test_duplicates_and_empty_corpora_are_refused(tmp_path):
    home = write_beir(tmp_path / "set-en")
    corpus = home / "corpus.jsonl"
    whole = corpus.read_text()
    corpus.write_text(whole + whole.splitlines()[3] + "\n")
    with pytest.raises(InvalidInputError, match=r"corpus\.jsonl: the id 'd3' comes twice"):
        from_folder(home)[0].load()
    corpus.write_text("")
    with pytest.raises(InvalidInputError, match=r"set \[en\].*there are no documents"):
        from_folder(home)[0].load()
    with pytest.raises(InvalidInputError, match="there are no judgements"):
        Dataset("set", "en", {"d": "x"}, {}, {})


def test_folders_without_sets_and_twice_the_same_are_refused(tmp_path, family):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"holds neither a collection in BEIR layout \(corpus.jsonl"):
        from_folder(tmp_path / "empty")
    with pytest.raises(InvalidInputError, match="no such folder"):
        from_folder(tmp_path / "nowhere")
    shutil.copytree(family / "set-de", family / "more" / "set-de")
    with pytest.raises(InvalidInputError, match=r"holds set \[de\] twice"):
        from_folder(family)


def test_what_is_not_there_cannot_be_chosen(family):
    refs = from_folder(family)
    assert [ref.language for ref in choose(refs, ["SET"], ["fr", "en"])] == ["en", "fr"]
    with pytest.raises(InvalidInputError, match="no language 'ja'; there are de, en, fr"):
        choose(refs, None, ["ja"])


def test_without_a_network_the_files_and_the_place_for_them_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    (ref,) = from_hub(
        "LiquidAI/nanobeir-multilingual-extended", "8a4be55", "config", ["NanoNQ"], ["de"], offline=True
    )
    with pytest.raises(InvalidInputError) as caught:
        ref.load()
    for part in (
        "NanoNQ_de/corpus-*.parquet",
        "NanoNQ_de_qrels/qrels-*.parquet",
        "LiquidAI/nanobeir-multilingual-extended at revision 8a4be55",
        "DIR/nanobeir-multilingual-extended/",
        "--data DIR",
    ):
        assert part in str(caught.value)
    refs = from_hub(ref.task, None, "split", ["NanoNQ"], ["de"], folder=tmp_path)
    with pytest.raises(InvalidInputError, match="not below"):
        refs[0].load()


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def fail(*_, local_files_only, **__):
        asked.append(local_files_only)
        raise LocalEntryNotFoundError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    for ref in from_hub("LiquidAI/x", {"de": "abc"}, "config", ["NanoNQ"], ["de", "fr", "en"]):
        with pytest.raises(InvalidInputError, match="no route to host"):
            ref.load()
    assert asked == [False, True, True]


def test_a_cached_snapshot_is_taken_without_a_network(tmp_path, monkeypatch):
    made = write_nanobeir(tmp_path, "liquid") / "nanobeir-multilingual-extended"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(made))
    (ref,) = from_hub("LiquidAI/x", "abc", "config", ["NanoNQ"], ["fr"], offline=True)
    dataset = ref.load()
    is_whole(dataset, "fr")
    assert dataset.source["repository"] == "LiquidAI/x"


def test_ir_datasets_files_are_held_to_their_checksums(tmp_path, monkeypatch):
    ir_datasets = pytest.importorskip("ir_datasets")
    monkeypatch.setattr(ir_datasets.util, "home_path", lambda: tmp_path)
    made = write_nanobeir(tmp_path / "made", "zeta-alpha", ("NanoNQ",), ("en",))
    home = tmp_path / "nano-beir/nq"
    home.mkdir(parents=True)
    for part in ("corpus", "queries", "qrels"):
        shutil.copy(made / f"NanoNQ/{part}/train-00000-of-00001.parquet", home / f"{part}.parquet")
    md5 = {file.stem: hashlib.md5(file.read_bytes()).hexdigest() for file in home.iterdir()}
    (ref,) = from_ir_datasets({"NanoNQ": {"id": "nano-beir/nq", "md5": md5}}, ["NanoNQ"], offline=True)
    is_whole(ref.load(), "en")
    (home / "corpus.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"corpus\.parquet: its MD5 is .*, not .*: it is damaged"):
        ref.load()
    (home / "corpus.parquet").unlink()
    with pytest.raises(
        InvalidInputError, match=r"without a network these files are missing: .*corpus\.parquet"
    ):
        ref.load()


def test_suites_are_whole(monkeypatch, tmp_path):
    suite = load_suite("nanobeir")
    assert len(suite.facts["tasks"]) == 13 == len(suite.facts["sets"])
    assert all(len(digest) == 32 for one in suite.facts["sets"].values() for digest in one["md5"].values())
    assert len(load_suite("nanobeir-multilingual").refs()) == 13 * 11
    crossed = load_suite("nanobeir-crosslingual")
    assert crossed.cross_lingual
    assert len(crossed.refs()) == 13 * 9
    assert len(crossed.refs(languages=["all"])) == 13 * 11
    assert [ref.language for ref in load_suite("demo").refs(languages=["ja", "en"])] == ["en", "ja"]
    with pytest.raises(InvalidInputError, match="there is no suite 'x'; there are demo, nanobeir"):
        load_suite("x")
    (tmp_path / "bad.toml").write_text("title = 1")
    with pytest.raises(InvalidInputError, match="a suite has"):
        load_suite(str(tmp_path / "bad.toml"))


@pytest.mark.data
def test_the_shared_families_are_found(data):
    refs = from_folder(data / "eval")
    assert {ref.language for ref in refs if ref.task == "xquad"} == {"ar", "de", "en", "es", "ru", "vi", "zh"}
    english = next(ref for ref in refs if (ref.task, ref.language) == ("xquad", "en")).load()
    assert (len(english.documents), len(english.queries)) == (240, 1190)
    assert json.dumps(english.source)


def reshaped(rows, kind):
    """A part's rows as other people's writers store them: the same content in another shape."""
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(rows)
    if kind == "reversed columns, extra ones":
        extra = pa.array([{"split": "x"}] * len(rows))
        table = table.select(table.column_names[::-1]).add_column(1, "metadata", extra)
    for number, name in enumerate(table.column_names):
        column = table[name].combine_chunks()
        if not pa.types.is_string(column.type):
            continue
        if kind == "large strings":
            column = column.cast(pa.large_string())
        elif kind == "dictionaries":
            column = column.dictionary_encode()
        elif kind == "bytes":
            column = column.cast(pa.binary())
        elif kind == "whole numbers" and name != "text":
            column = pa.array([int(id[1:]) for id in column.to_pylist()])
        table = table.set_column(number, name, column)
    return table


@pytest.mark.parametrize(
    "kind",
    ["reversed columns, extra ones", "large strings", "dictionaries", "bytes", "whole numbers", "shards"],
)
def test_parquet_files_of_any_shape_are_read(tmp_path, kind):
    pq = pytest.importorskip("pyarrow.parquet")
    home = tmp_path / "nanobeir-multilingual-extended"
    for part, rows in parquet_parts("de").items():
        folder = home / f"NanoNQ_de{'_qrels' * (part == 'qrels')}"
        folder.mkdir(parents=True, exist_ok=True)
        cuts = (0, 4, len(rows)) if kind == "shards" else (0, len(rows))
        for number in range(len(cuts) - 1):
            piece = reshaped(rows[cuts[number] : cuts[number + 1]], kind)
            pq.write_table(piece, folder / f"{part}-{number:05}-of-{len(cuts) - 1:05}.parquet")
    (ref,) = from_folder(tmp_path)
    dataset = ref.load()
    strip = (lambda id: id[1:]) if kind == "whole numbers" else (lambda id: id)
    assert dict(dataset.documents) == {strip(id): text for id, text in documents("de").items()}
    assert dict(dataset.queries) == {strip(id): text for id, text in queries("de").items()}
    assert dataset.qrels == {strip(q): {strip(d): g for d, g in row.items()} for q, row in QRELS.items()}


def test_plain_parquet_folders_and_the_hubs_cache_are_read(tmp_path):
    for part, rows in parquet_parts("de").items():
        write_table(tmp_path / "plain/NanoNQ-de" / f"{part}.parquet", rows)
        cached = tmp_path / "hub/datasets--sentence-transformers--NanoBEIR-de/snapshots/0a1b2c"
        write_table(cached / part / "NanoNQ-00000-of-00001.parquet", rows)
        write_table(tmp_path / "converted/NanoNQ" / part / "train/0000.parquet", rows)
    for folder, language in (("plain", "de"), ("hub", "de"), ("converted", "en")):
        (ref,) = from_folder(tmp_path / folder)
        assert (ref.task, ref.language) == ("NanoNQ", language)
        assert dict(ref.load().documents) == documents("de")


@pytest.mark.parametrize(
    "named", ["corpus/corpus-00000-of-00001", "corpus/test-00000-of-00001", "corpus/0000"]
)
def test_a_folder_of_one_task_may_have_splits(tmp_path, named):
    parts, home = parquet_parts("de"), tmp_path / "mine-de"
    for part, rows in parts.items():
        if part != "qrels":
            write_table(home / f"{named.replace('corpus', part)}.parquet", rows)
    for split, rows in {
        "dev": parts["qrels"][:1],
        "test": parts["qrels"],
        "train": parts["qrels"][1:3],
    }.items():
        write_table(home / f"qrels/{split}-00000-of-00001.parquet", rows)
    (ref,) = from_folder(tmp_path)
    assert (ref.task, ref.language) == ("mine", "de")
    is_whole(ref.load(), "de")
    (dev,) = from_folder(tmp_path, "dev")
    assert dev.load().qrels == {"q0": {"d0": 1}}
    with pytest.raises(InvalidInputError, match="is missing"):
        from_folder(tmp_path, "validation")[0].load()


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        (
            "corpus",
            [{"_id": "d0", "text": "a"}, {"_id": "d0", "text": "b"}],
            "row 2: the id 'd0' comes twice",
        ),
        ("queries", [{"_id": None, "text": "a"}], "row 1: '_id' is empty"),
        ("queries", [{"_id": 1.5, "text": "a"}], "row 1: '_id' is 1.5, a string is expected"),
        (
            "corpus",
            [{"_id": "d0", "text": ["a", "b"]}],
            r"row 1: 'text' is \['a', 'b'\], a string is expected",
        ),
        ("corpus", [{"_id": "d0", "text": b"\xff"}], "row 1: 'text' is not UTF-8"),
        ("qrels", [{"query-id": "q0", "corpus-id": "d0", "score": 0.5}], "row 1: the score is 0.5, a whole"),
        (
            "qrels",
            [{"query-id": "q0", "corpus-id": "d0", "score": float("nan")}],
            "the score is nan, a whole",
        ),
        ("qrels", [{"query-id": "q0", "corpus-id": None}], "row 1: 'corpus-id' is empty"),
        (
            "qrels",
            [{"query-id": "q0", "corpus-id": "d0", "score": grade} for grade in (1, 2)],
            "row 2: another grade of 'd0' for 'q0' than before",
        ),
    ],
)
def test_bad_rows_of_parquet_files_are_named(tmp_path, part, rows, message):
    folder = write_nanobeir(tmp_path, "sentence-transformers", ("NanoNQ",), ("en",))
    path = folder / f"NanoBEIR-en/{part}/NanoNQ-00000-of-00001.parquet"
    write_table(path, rows)
    (ref,) = from_folder(folder)
    with pytest.raises(InvalidInputError, match=f"NanoNQ-00000-of-00001.parquet: .*{message}"):
        ref.load()


def test_any_cut_of_a_parquet_file_is_an_error_that_names_it(tmp_path):
    folder = write_nanobeir(tmp_path, "sentence-transformers", ("NanoNQ",), ("en",))
    path = folder / "NanoBEIR-en/corpus/NanoNQ-00000-of-00001.parquet"
    whole = path.read_bytes()
    (ref,) = from_folder(folder)
    for size in (0, 3, 4, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidInputError, match=r"NanoNQ-00000-of-00001\.parquet: can't be read"):
            ref.load()


def test_a_truncated_gzip_is_named(tmp_path):
    home = write_beir(tmp_path / "set-en")
    packed = gzip.compress((home / "corpus.jsonl").read_bytes())
    (home / "corpus.jsonl").unlink()
    (home / "corpus.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InvalidInputError, match=r"corpus\.jsonl\.gz:\d+: can't be read"):
        from_folder(home)[0].load()


OWN = """
title = "Mine"
source = "folder"
model = "nano"
folders = ["family"]
languages = ["de", "en"]
published = ["mine-published.toml"]
[settings]
systems = ["exact", "lexical"]
depth = 200
"""


def write_suite(folder, text):
    (folder / "mine-published.toml").write_text('[[systems]]\nmodel = "X"\nsource = "here"\nmeans.de = 0.5\n')
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


def test_a_suite_of_ones_own_is_read(tmp_path, family):
    suite = load_suite(write_suite(tmp_path, OWN))
    assert (suite.name, suite.facts["settings"]) == ("mine", {"systems": ["exact", "lexical"], "depth": 200})
    assert suite.published == [str(tmp_path / "mine-published.toml")]
    refs = suite.refs()
    assert [(ref.task, ref.language) for ref in refs] == [("set", "de"), ("set", "en")]
    is_whole(refs[0].load(), "de")
    assert [ref.language for ref in suite.refs(languages=["en"])] == ["en"]
    assert len(load_suite(write_suite(tmp_path, OWN.replace('languages = ["de", "en"]', ""))).refs()) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Mine"', "", "a suite has 'title'"),
        ('title = "Mine"', "title = 3", "'title' is 3; a string is expected"),
        (
            'source = "folder"',
            'source = "web"',
            "the source is one of bundled, folder, hub, ir-datasets, not 'web'",
        ),
        ('folders = ["family"]', "", "a suite has 'folders'"),
        ('folders = ["family"]', "folders = []", "'folders' is empty"),
        ('folders = ["family"]', "folders = [1]", "a list of strings is expected"),
        ('languages = ["de", "en"]', 'languages = ["de", "de"]', "'languages' names one twice"),
        (
            'languages = ["de", "en"]',
            "langauges = []",
            "knows no 'langauges'; a suite of this source has title,",
        ),
        ("[settings]", "cross_lingual = 1\n[settings]", "'cross_lingual' is 1; true or false is expected"),
        ("mine-published", "nowhere", "names 'nowhere.toml', which is neither bundled nor beside it"),
        ("depth = 200", "depth = 10", "'depth' is 10; at least 100 is expected"),
        ("depth = 200", "depth = true", "'depth' is True; a whole number is expected"),
        ("depth = 200", "deep = 200", "there is no setting 'deep'; there are systems, compat"),
        (
            '"lexical"',
            '"splade"',
            "'systems': there is no system 'splade'; there are exact, accurate,",
        ),
        ('["exact", "lexical"]', "[]", "mine.toml: 'systems': name at least one system of exact"),
        ('["exact", "lexical"]', '"exact"', "'systems' is 'exact'; a list is expected"),
        ('title = "Mine"', "title = ", "mine.toml: can't be read: Invalid value"),
        (
            'source = "folder"',
            'source = "hub"\ntasks = ["a"]\nrepositories = [{name = "x/y"}]',
            "knows no 'folders'",
        ),
    ],
)
def test_what_is_wrong_in_a_suite_is_named(tmp_path, old, new, message):
    assert old in OWN
    with pytest.raises(InvalidInputError, match=re.escape("mine.toml: ")) as caught:
        load_suite(write_suite(tmp_path, OWN.replace(old, new)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ('{layout = "config"}', "repository 1 needs a 'name'"),
        ('{name = "x/y"}', "the layout is one of config, config-shared-qrels, split, not None"),
        ('{name = "x/y", layout = "split", revision = 7}', "the revision is a string"),
        ('{name = "x/y", layout = "split", revisions = "abc"}', "revisions are a table"),
    ],
)
def test_what_is_wrong_in_a_repository_is_named(tmp_path, repository, message):
    head = 'title = "x"\nsource = "hub"\nmodel = "nano"\ntasks = ["a"]\nlanguages = ["de"]\n'
    with pytest.raises(InvalidInputError, match=message):
        load_suite(write_suite(tmp_path, f"{head}repositories = [{repository}]\n"))


def test_sets_without_a_checksum_are_refused(tmp_path):
    head = 'title = "x"\nsource = "ir-datasets"\nmodel = "nano"\ntasks = ["NanoNQ"]\nlanguages = ["en"]\n'
    with pytest.raises(InvalidInputError, match=r"'NanoNQ' needs \[sets.NanoNQ\] with 'id' and the MD5"):
        load_suite(write_suite(tmp_path, f'{head}[sets.NanoNQ]\nid = "nano-beir/nq"\n'))


def test_a_suite_says_what_a_folder_lacks_and_refuses_what_it_has_no_use_for(tmp_path):
    folder = write_nanobeir(tmp_path, "liquid", ("NanoNQ",), ("de", "fr"))
    suite = load_suite("nanobeir-multilingual")
    refs = suite.refs(folder=folder)
    assert [(ref.task, ref.language) for ref in refs] == [("NanoNQ", "de"), ("NanoNQ", "fr")]
    assert {"NanoSciFact", "[ja]"} <= set(suite.absent(refs))
    assert not {"NanoNQ", "[de]"} & set(suite.absent(refs))
    with pytest.raises(
        InvalidInputError, match="the suite demo knows no files elsewhere: its source is 'bundled'"
    ):
        load_suite("demo").refs(folder=folder)
    with pytest.raises(InvalidInputError, match="knows no other repositories: its source is 'ir-datasets'"):
        load_suite("nanobeir").refs(repository="a/b")
