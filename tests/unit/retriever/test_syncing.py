"""An index brought to what folders hold: what is encoded, one commit, going on after a kill, two at once."""

import errno
import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from lfm2_retrieval import Retriever
from lfm2_retrieval.documents import Passages
from lfm2_retrieval.encoder import Encoder
from lfm2_retrieval.errors import IndexLockedError, IndexWriteError, InvalidInputError, ModelMismatchError
from lfm2_retrieval.indexes import Spool
from lfm2_retrieval.indexes.spool import sync_lock


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in {
        "tides.md": "# Tides\n\nThe Moon pulls the sea up.\n\n# Waves\n\nWind makes waves.\n",
        "bread.md": "# Bread\n\nYeast makes dough rise.\n",
        "films.csv": "title,plot\nHarbour,A pilot who fears the sea\nNight,A watchman who counts stars\n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def retriever(tmp_path, checkpoint):
    with Retriever.index(
        [], tmp_path / "index", model=checkpoint(), passages=Passages(tokens=16, headings=False)
    ) as made:
        yield made


def test_only_what_changed_is_encoded(retriever, docs):
    first = retriever.sync(docs)
    assert (first.new, first.documents.encoded) == (3, retriever.n_passages)
    assert retriever.ids() == ["bread.md", "films.csv:2", "films.csv:3", "tides.md"]
    again = retriever.sync(str(docs))
    assert (again.unchanged, again.is_change, again.documents.encoded) == (3, False, 0)
    (docs / "tides.md").write_text("# Tides\n\nThe Moon pulls the sea up.\n\n# Waves\n\nGales make them.\n")
    (docs / "bread.md").rename(docs / "dough.md")
    changed = retriever.sync([docs])
    assert (changed.changed, changed.renamed) == (1, 1)
    assert 0 < changed.documents.encoded < 3
    assert changed.names == {"changed": ["tides.md"], "renamed": ["bread.md → dough.md"]}
    found = retriever.document("dough.md")
    assert found.source == found.metadata["path"] == str(docs / "dough.md")
    (docs / "films.csv").unlink()
    assert retriever.sync(docs, delete=False).gone == 0
    assert len(retriever) == 4
    dry = retriever.sync(docs, dry_run=True)
    assert (dry.gone, dry.names, len(retriever)) == (1, {"gone": ["films.csv"]}, 4)
    assert retriever.sync(docs).gone == 1
    assert retriever.ids() == ["dough.md", "tides.md"]
    assert json.dumps(changed.to_dict())
    retriever.verify()


def test_hits_say_where_they_lie(retriever, docs):
    retriever.sync(docs)
    hit = next(hit for hit in retriever.search("waves", 9) if "Wind" in hit.text)
    text = retriever.document(hit.document_id).text
    assert text[slice(*hit.span)] == hit.text
    assert hit.source == str(docs / "tides.md")
    lines = (docs / "tides.md").read_text().split("\n")[hit.lines[0] - 1 : hit.lines[1]]
    assert "\n".join(lines) == hit.text


def test_readers_see_one_commit_and_other_documents_stay(retriever, docs):
    retriever.add([{"id": "mine", "text": "by hand"}])
    retriever.sync(docs)
    with Retriever.open(retriever.path, model=retriever.encoder) as reader:
        (docs / "bread.md").unlink()
        retriever.sync(docs)
        assert "docs/bread.md" in reader.ids()
        reader.refresh()
        assert reader.ids()[0] == "mine"
        assert "docs/bread.md" not in reader.ids()
        assert reader.sync(docs).is_change is False


def test_a_sync_that_was_interrupted_goes_on(retriever, docs, monkeypatch):
    for number in range(40):
        (docs / f"{number}.md").write_text(f"A note of its own about the number {number}.")
    seen = []

    def stop(done):
        seen.append(done)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retriever.sync(docs, on_progress=stop, batch_size=8)
    assert len(retriever) == 0
    encoded = seen[-1].encoded
    rest = retriever.sync(docs, batch_size=8)
    assert rest.documents.encoded <= retriever.n_passages - encoded
    assert not (retriever.path / "sync/vectors").exists()
    retriever.verify()


def test_an_interrupted_one_gives_the_same_vectors(retriever, docs, tmp_path, checkpoint):
    with pytest.raises(RuntimeError):
        retriever.sync(docs, on_progress=lambda _: (_ for _ in ()).throw(RuntimeError()))
    retriever.sync(docs)
    with Retriever.index([], tmp_path / "other", model=checkpoint(), passages=retriever.passages) as other:
        other.sync(docs)
        for query in ("waves", "bread"):
            ours, theirs = retriever.search(query, 5), other.search(query, 5)
            assert [(hit.id, hit.score) for hit in ours] == [(hit.id, hit.score) for hit in theirs]


def test_a_wrong_model_is_refused_before_any_work(retriever, docs, checkpoint, monkeypatch):
    with Retriever.open(retriever.path, model=checkpoint(hidden=64)) as wrong:
        monkeypatch.setattr(Encoder, "encode_documents", None)
        with pytest.raises(ModelMismatchError):
            wrong.sync(docs)
    assert len(retriever) == 0


def test_an_index_without_passages_says_what_to_do(docs, checkpoint):
    with (
        Retriever.index(["one"], model=checkpoint()) as plain,
        pytest.raises(InvalidInputError, match="passages"),
    ):
        plain.sync(docs)


def test_two_at_once_never_double(retriever, docs):
    with sync_lock(retriever.path, 0), pytest.raises(IndexLockedError):
        retriever.sync(docs, timeout=0)
    reports = []

    def run():
        with Retriever.open(retriever.path, model=retriever.encoder) as own:
            reports.append(own.sync(docs))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.new for report in reports) == [0, 0, 3]
    retriever.refresh()
    assert len(retriever) == 4


class Other:
    """Somebody else who writes to the index while a sync encodes."""

    def __init__(self, retriever):
        self.retriever = retriever
        self.left = []
        self.refused = 0

    def __call__(self, done):
        if self.left:
            with Retriever.open(self.retriever.path, model=self.retriever.encoder) as own:
                try:
                    self.left.pop(0)(own)
                except IndexLockedError:
                    self.refused += 1


def test_others_write_while_a_sync_encodes(retriever, docs):
    other = Other(retriever)
    other.left = [lambda own: own.add([{"id": "mine", "text": "by hand"}], timeout=0)]
    done = retriever.sync(docs, on_progress=other)
    assert (other.left, other.refused) == ([], 0)
    assert (done.new, done.documents.encoded) == (3, retriever.n_passages - 1)
    assert set(retriever.ids()) == {"mine", "bread.md", "films.csv:2", "films.csv:3", "tides.md"}
    retriever.verify()


def test_what_others_did_to_its_documents_meanwhile_is_planned_anew(retriever, docs):
    retriever.sync(docs)
    (docs / "tides.md").write_text("# Tides\n\nThe Sun pulls the sea, too.\n")
    (docs / "taken.md").write_text("A note of its own.")
    other = Other(retriever)
    other.left = [
        lambda own: own.delete(["bread.md"], timeout=0),
        lambda own: own.add([{"id": "taken.md", "text": "by hand"}], timeout=0),
    ]
    done = retriever.sync(docs, on_progress=other)
    assert (other.left, other.refused) == ([], 0)
    assert retriever.document("taken.md").text == "by hand"
    assert {"taken.md~2", "bread.md"} <= set(retriever.ids())
    assert retriever.document("tides.md").text.endswith("too.\n")
    assert 0 < done.documents.encoded <= done.documents.encoded + done.documents.kept == 7
    assert retriever.sync(docs).is_change is False
    retriever.verify()


def test_somebody_who_never_stops_is_kept_out_in_the_end(retriever, docs):
    other = Other(retriever)
    other.left = [
        lambda own, n=n: own.add(
            [{"id": "tides.md", "text": f"by hand {n}"}], timeout=0, on_conflict="replace"
        )
        for n in range(9)
    ]

    retriever.add([{"id": "films.csv:2", "text": "by hand"}])
    done = retriever.sync(docs, on_progress=other)
    assert done.new == 3
    assert other.refused in (0, 1)
    assert retriever.sync(docs).is_change is False
    retriever.verify()


@pytest.mark.parametrize("room", [0, 1 << 12])
def test_vectors_that_find_no_room_are_made_under_the_lock(retriever, docs, monkeypatch, room):
    for number in range(20):
        (docs / f"{number}.md").write_text(f"A note of its own about the number {number}.")
    monkeypatch.setattr("lfm2_retrieval.indexes.spool._MOST_BYTES", room)
    monkeypatch.setattr(Spool.__init__, "__defaults__", (room,))
    done = retriever.sync(docs, batch_size=4)
    assert (done.new, len(retriever), done.documents.added) == (23, 24, 24)
    retriever.verify()


def test_a_disk_that_is_full_changes_nothing(retriever, docs, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lfm2_retrieval.indexes.spool.TemporaryFile", lambda dir: Full())
        with pytest.raises(IndexWriteError, match="No space"):
            retriever.sync(docs)
    assert len(retriever) == 0
    assert retriever.sync(docs).new == 3


def test_in_a_forked_child(retriever, docs):
    retriever.sync(docs)
    (docs / "new.md").write_text("Rain falls on hills.")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if retriever.sync(docs).new == 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert retriever.sync(docs).is_change is False
    assert "new.md" in retriever.ids()


_SYNC = """
import sys
from lfm2_retrieval import Retriever
with Retriever.open(sys.argv[1], model=sys.argv[3]) as retriever:
    print("ready", flush=True)
    retriever.sync(sys.argv[2], batch_size=4)
"""


@pytest.mark.campaign
def test_killed_at_any_moment(retriever, docs, checkpoint):
    """Twenty kills: what was committed stays whole, and the end is what the folder holds, each once."""
    import random

    dice = random.Random(7)
    for number in range(120):
        (docs / f"n{number}.md").write_text(f"Note {number} about {dice.random()} things of the sea. " * 4)
    for turn in range(20):
        (docs / f"n{turn}.md").write_text(f"Changed in turn {turn}. " * 5)
        if (docs / f"n{100 - turn}.md").exists():
            (docs / f"n{100 - turn}.md").rename(docs / f"moved{turn}.md")
        process = subprocess.Popen(
            [sys.executable, "-c", _SYNC, str(retriever.path), str(docs), str(checkpoint())],
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(dice.random() * 1.5)
        process.kill()
        process.wait()
        retriever.refresh()
        retriever.verify()
    retriever.sync(docs)
    assert retriever.sync(docs).is_change is False
    names = {path.name for path in docs.iterdir()} - {"films.csv"} | {"films.csv:2", "films.csv:3"}
    assert sorted(retriever.ids()) == sorted(names)
    retriever.verify()
