"""A process that uses indexes which somebody else made, in all ways there are, and tells what came of it.

It reads paths of folders, a line each, and answers with a line of JSON: of each thing done that ended in an
error, the error's name, whether it is ours, and its message. What hangs is killed by the caller.
"""

import json
import resource
import shutil
import sys
import traceback
from pathlib import Path

from click.testing import CliRunner

from lfm2_retrieval import Retriever
from lfm2_retrieval.cli import main
from lfm2_retrieval.encoder import Encoder
from lfm2_retrieval.errors import RetrievalError

QUERY = "what is a comet"


def search(folder):
    with Retriever.open(folder) as retriever:
        for mode in ("dense", "lexical", "hybrid"):
            hits = retriever.search(QUERY, mode=mode, where={"n": {"$gte": 0}})
            hits += retriever.search(QUERY, mode=mode)
            for hit in hits:
                repr(hit)
        retriever.search(QUERY, explain=True, group_by="n")


def read(folder):
    with Retriever.open(folder) as retriever:
        store = retriever.store
        ids = store.ids()
        store.get_many(ids)
        store.embeddings(ids[:3])
        list(store.documents({"n": {"$gte": 0}}))
        store.count({"n": 1})
        retriever.rerank(QUERY, ids=ids[:3])
        repr(
            (
                store.settings,
                store.codec_facts,
                store.outgrown,
                store.size_bytes(),
                store.segments,
                store.tier,
            )
        )


def verify(folder):
    with Retriever.open(folder) as retriever:
        retriever.store.verify()


def change(folder):
    with Retriever.open(folder) as retriever:
        retriever.add([{"_id": "new", "text": "a comet is a ball of ice", "n": 1}])
        retriever.delete(["new"])
        retriever.delete(where={"n": 3})


def build(folder):
    with Retriever.open(folder) as retriever:
        retriever.store.build(force=True)
        retriever.store.merge()


def tune(folder):
    with Retriever.open(folder) as retriever:
        retriever.store.tune(0.9, sample=3)


def configure(folder):
    with Retriever.open(folder) as retriever:
        retriever.store.configure(lexical=False, fields=["n"])


def backup(folder):
    with Retriever.open(folder) as retriever:
        retriever.store.backup(folder.with_name("backup"))


def append(folder):
    Retriever.index(["one more"], folder, if_exists="append").close()


def overwrite(folder):
    Retriever.index(["another"], folder, if_exists="overwrite", model="nano").close()


def repair(folder):
    Retriever.repair(folder)
    with Retriever.open(folder) as retriever:
        retriever.search(QUERY)


def command(*arguments):
    def run(folder):
        result = CliRunner().invoke(main, [*(one.format(folder) for one in arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        for character in result.output:
            assert character == "\n" or character.isprintable(), ascii(result.output)

    return run


READING = (
    search,
    read,
    verify,
    command("info", "{}"),
    command("info", "{}", "--json"),
    command("list", "{}"),
)
CHANGING = (change, build, tune, configure, backup, append, repair, overwrite)


def load(folder):
    encoder = Encoder.load(folder, kernels="plain")
    encoder.encode_documents(["a comet", "ice and dust " * 50])
    encoder.encode_queries([QUERY])
    repr((encoder.identity, encoder.dim))


def use(folder):
    """All of it; what changes an index gets a copy."""
    errors = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    steps = (*READING, *CHANGING) if folder.name == "index" else (load,)
    for step in steps:
        where = folder
        if step in CHANGING:
            where = folder.with_name("copy")
            copy_tree(folder, where)
        try:
            step(where)
        except BaseException as error:  # noqa: BLE001  also what comes from Rust
            kind = getattr(step, "__name__", "command")
            ours = isinstance(error, RetrievalError)
            text = str(error) if ours else traceback.format_exc()
            errors.append([kind, type(error).__name__, ours, text])
        for left in folder.parent.iterdir():
            if left.name.startswith(("copy", "backup")):
                remove(left)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"errors": errors, "grown": (peak - before) / 1024}


def copy_tree(source, target):
    """With pipes and links as they are, which `shutil.copytree` would wait for or follow."""
    import os
    import stat

    target.mkdir()
    for path in source.iterdir():
        mode = path.lstat().st_mode
        other = target / path.name
        if stat.S_ISDIR(mode):
            copy_tree(path, other)
        elif stat.S_ISLNK(mode):
            other.symlink_to(path.readlink())
        elif stat.S_ISREG(mode):
            shutil.copyfile(path, other)
        else:
            os.mknod(other, mode)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    with Retriever.index(["warm", "up"], model="nano") as warm:
        for how in ("dense", "hybrid"):
            warm.search(QUERY, mode=how)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(use(Path(line.strip()))), flush=True)
