"""Indexes of every format so far: they open, are whole, and give the hits that they gave when they were made.

``make.py`` makes those of the current format anew.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import make
import numpy as np
import pytest

from lfm2_retrieval import Index, SearchParams, TokenEmbeddings
from lfm2_retrieval.indexes.catalogue.schema import FORMAT

FORMATS = sorted(path.name for path in make.GOLDEN.glob("format-*"))
WHOLE = [(name, tier) for name in FORMATS for tier in make.TIERS]


def expected(name):
    return json.loads((make.GOLDEN / name / "expected.json").read_text(encoding="utf-8"))


def asked(facts):
    rows = [np.array(query, np.float32).reshape(-1, make.DIM) for query in facts["queries"]]
    return TokenEmbeddings(np.concatenate(rows), np.concatenate([[0], np.cumsum([len(row) for row in rows])]))


@pytest.fixture
def opened(request, tmp_path):
    name, tier = request.param
    shutil.copytree(make.GOLDEN / name / tier, tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        yield index, expected(name), tier


def test_the_current_format_is_there():
    assert f"format-{FORMAT}" in FORMATS, "run python tests/golden/make.py"
    assert expected(f"format-{FORMAT}")["format"] == FORMAT


@pytest.mark.parametrize("opened", WHOLE, indirect=True)
def test_a_golden_index_is_whole(opened):
    index, facts, tier = opened
    index.verify()
    assert (len(index), index.n_tokens, str(index.tier)) == (
        facts[tier]["documents"],
        facts[tier]["tokens"],
        tier,
    )
    assert [part.segment.info.codec for part in index._snapshot().parts] == facts[tier]["codecs"]
    for number, id in enumerate(index.ids()):
        entry = index.get(id)
        assert (id, entry.text, entry.metadata) == (f"id-{number}", make.text(number), {"number": number})
    assert index.settings["made_by"] == "tests/golden/make.py"


@pytest.mark.parametrize("opened", WHOLE, indirect=True)
@pytest.mark.parametrize("search", ["default", "exact"])
def test_a_golden_index_gives_its_hits(opened, search):
    index, facts, tier = opened
    params = SearchParams(facts["k"], exact=search == "exact")
    for hits, wanted in zip(index.search(asked(facts), params), facts[tier]["searches"][search], strict=True):
        assert [hit.id for hit in hits] == [id for id, _, _ in wanted]
        assert [str(hit.score_kind) for hit in hits] == [kind for _, _, kind in wanted]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score, _ in wanted], rel=1e-5)


@pytest.mark.parametrize("opened", WHOLE, indirect=True)
def test_a_golden_index_can_be_added_to(opened):
    index, facts, _ = opened
    before = [[hit.id for hit in hits] for hits in index.search(asked(facts), SearchParams(8, exact=True))]
    index.add(["far"], TokenEmbeddings(np.full((1, make.DIM), 1e-3, np.float32), np.array([0, 1])))
    index.build(force=True)
    with Index.open(index.path) as again:
        assert len(again) == len(index.ids()) == len(index)
        again.verify()
    after = [[hit.id for hit in hits] for hits in index.search(asked(facts), SearchParams(8, exact=True))]
    assert sum(len(set(a) & set(b)) for a, b in zip(after, before, strict=True)) >= 0.8 * sum(
        map(len, before)
    )


def test_a_golden_index_of_passages_is_whole(tmp_path):
    for name in FORMATS[1:]:
        shutil.copytree(make.GOLDEN / name / "passages", tmp_path / name)
        with Index.open(tmp_path / name) as index:
            index.verify()
            first, second = index.sources.documents()
            assert first == replace(make.whole(0), metadata={"number": -1}, row=first.row, key=1)
            assert second == replace(make.whole(1), id="renamed", row=second.row, key=2)
            entries = list(index.documents())
            assert [entry.id for entry in entries] == [
                *("document-0#2", "renamed#1", "renamed#2", "renamed#3", "document-0#4")
            ]
            for entry in entries:
                passage, document = entry.passage, index.sources.get(entry.passage.document_id)
                assert entry.text == passage.text == document.text[passage.start : passage.end]
                assert (entry.encoded, passage.headings) == (f"Guide\n{entry.text}", ("Guide", "naïve 猫"))
            facts = expected(name)
            found = index.search(asked(facts), SearchParams(facts["k"]))
            for hits, wanted in zip(found, facts["passages"]["searches"]["default"], strict=True):
                assert [hit.id for hit in hits] == [id for id, _, _ in wanted]
            words = index.search(None, SearchParams(5, mode="lexical", by="document"), texts=["naïve guide"])[
                0
            ]
            assert {hit.document_id for hit in words} == {"document-0", "renamed"}


def test_a_golden_index_of_the_first_format_is_read_as_it_is_and_upgraded_by_a_writer(tmp_path):
    shutil.copytree(make.GOLDEN / "format-1" / "exact", tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        before = index.ids()
        assert (index.sources.ids(), index.sources.count()) == (before, len(before))
        index.verify()
        index.backup(tmp_path / "backup")
        assert [version(tmp_path / name) for name in ("index", "backup")] == [1, 1]
        index.delete(before[0])
        assert version(tmp_path / "index") == FORMAT
        index.verify()
        Index.create(tmp_path / "new", make.DIM).close()
        with closing(sqlite3.connect(tmp_path / "new" / "index.db")) as made:
            ours = "tbl_name IN ('sources', 'passages')"
            objects = f"SELECT type, name, tbl_name, sql FROM sqlite_master WHERE {ours} ORDER BY name"
            with index._views.catalogue.reading() as old:
                assert old.execute(objects).fetchall() == made.execute(objects).fetchall()
    with Index.open(tmp_path / "backup") as index:
        assert index.ids() == before


def version(folder):
    with closing(sqlite3.connect(folder / "index.db")) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_the_golden_indexes_cover_every_layout():
    codecs = {codec for tier in make.TIERS for codec in expected(f"format-{FORMAT}")[tier]["codecs"]}
    assert {"fp16", "pq4-unit", "pq4-int8-unit", "pq2-int8"} <= codecs
    assert sum(file.stat().st_size for file in make.GOLDEN.rglob("*") if file.is_file()) < 2 << 20


def test_a_merge_adds_what_older_segments_lack(tmp_path):
    shutil.copytree(make.GOLDEN / "format-1" / "exact", tmp_path / "index")
    facts = expected("format-1")
    with Index.open(tmp_path / "index") as index:
        assert all(part.segment.in_steps is None for part in index._snapshot().parts)
        before = index.search(asked(facts), facts["k"])
        assert index.merge()
        assert all(part.segment.in_steps is not None for part in index._snapshot().parts)
        index.verify()
        assert index.search(asked(facts), facts["k"]) == before
        assert not index.merge()
