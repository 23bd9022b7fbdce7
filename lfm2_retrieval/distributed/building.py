"""Building a collection in shards, by workers in parallel."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from ..documents import FileDocument, Passages
from ..encoder import (
    DEFAULT_MODEL,
    DocumentKeywords,
    Encoder,
    LongDocuments,
    Precision,
    fix_kernels,
)
from ..errors import IndexExistsError, InvalidInputError
from ..indexes import Index, Tier, WriterLock, check_fields, parse_memory
from ..platform.threads import check_threads
from ..records import check_columns
from ..retriever.encoding import warn_of_cut
from ..retriever.ingest import Progress
from ..retriever.own_encoder import ModelChoice
from ..retriever.progress import Show, shown
from ..retriever.splitting import check_passages, to_setting
from .ledger import Ledger, Line, settled_plan
from .manifest import MANIFEST, Manifest, ShardEntry
from .parts import Part, part_path
from .pools import LocalPool, Pool
from .sources import documents_of, parts_of, size_of
from .stages import BUILDING, LEDGER, PartDone, Plan, Worker, open_shard, shard_name

__all__ = ["BuildProgress", "build", "check_numbers", "manifest_of", "prepare"]

_APPENDED_TOKENS = 1 << 18
"""A shard gets its documents as soon as so many vectors wait for it."""
_AHEAD = 2
"""So many parts a worker are under way, so that none waits for the next."""
_MOST_SHARDS = 1 << 14


@dataclass(frozen=True, slots=True)
class BuildProgress(Progress):
    """How far a build has come; ``before``: documents that were encoded before this call."""

    before: int = 0

    @property
    def documents_per_second(self) -> float:
        """The mean rate of this call."""
        return (self.documents - self.before) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all documents are encoded, at this rate; None if nobody knows."""
        if self.total is None or not self.documents_per_second:
            return None
        return max(0, self.total - self.documents) / self.documents_per_second


def build(
    source: Any,
    path: str | Path,
    *,
    shards: int,
    model: str | Path | Encoder | None = None,
    workers: int | None = None,
    address: str | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    tier: Tier | str = Tier.BALANCED,
    lexical: bool = True,
    fields: Sequence[str] = (),
    passages: Passages | Literal["auto", "none"] = "auto",
    text: str | None = None,
    id: str | None = None,
    metadata: Sequence[str] | None = None,
    device: str = "auto",
    dtype: Precision = "auto",
    long_documents: LongDocuments | None = None,
    document_length: int | None = None,
    pool_factor: int | None = None,
    protected_tokens: int | None = None,
    threads: int | None = 1,
    memory: str | int = "2GB",
    n_documents: int | None = None,
    on_progress: Show | bool | None = None,
) -> Manifest:
    """Encode documents by several workers, and put them into the shards of a new collection.

    The same source gives the same shards, whatever the number of workers. A build that was killed, or whose
    workers, nodes or driver died, goes on where it was when the call is repeated: parts of the source that
    were encoded aren't encoded again, and nothing is there twice. The manifest is written last.

    Parameters
    ----------
    source
        Paths or URLs of files and folders, a data set of Ray, or documents as for :meth:`Retriever.index`. It
        is read in this process, in one order, and again from the beginning when a build goes on.
    path
        The folder of the collection, which all nodes see under this path.
    shards
        How many.
    model, tier, lexical, fields, passages, text, id, metadata, device, dtype, n_documents, on_progress
        As for :meth:`Retriever.index`. Vectors stay float16, 260 bytes each, until all are there.
    long_documents, document_length, pool_factor, protected_tokens
        As for :meth:`Retriever.index`.
    workers
        How many actors of Ray encode; by default as many as the cluster has room for. 0: this process alone,
        without Ray.
    address
        Of the Ray cluster; by default one is started on this machine, unless one runs.
    num_cpus, num_gpus
        What a worker takes of the cluster.
    threads
        How many threads a worker uses; None for all processors.
    memory
        What training and compressing may use in a worker. Encoding takes the model and two parts of up to
        1,024 documents.

    Returns
    -------
    Manifest
        What was written.

    Raises
    ------
    IndexExistsError
        If the path holds a collection, or something else.
    InvalidInputError
        If an argument or a document can't be used, or the build was begun otherwise.
    DuplicateIdError
        If an id comes twice.
    StoredIndexError
        If the source has changed since the build was begun.
    ClusterError, MissingExtraError
        If the cluster doesn't answer, or lacks this package; if Ray isn't installed here.
    """
    check_numbers(shards, workers)
    check_threads(threads)
    parse_memory(memory)
    columns = check_columns(text, id, metadata)
    options = DocumentKeywords(
        long_documents=long_documents,
        document_length=document_length,
        pool_factor=pool_factor,
        protected_tokens=protected_tokens,
    )
    chosen = check_passages(passages, long_documents)
    if workers != 0:
        from .cluster import need_ray

        need_ray()
    folder = Path(path).absolute()
    if (finished := prepare(folder)) is not None:
        return finished
    stream = parts_of(documents_of(source), columns)
    first = next(stream, None)
    if first is None:
        raise InvalidInputError("the source has no documents")
    encoder = ModelChoice(model, False, device, dtype).load(DEFAULT_MODEL).with_options(**options)
    whole = options.get("long_documents") in (None, "truncate")
    if chosen in (None, "auto"):
        files = whole and any(isinstance(one, FileDocument) for one in first.documents)
        chosen = Passages() if files else "none"
    wanted = Plan(
        uuid.uuid4().hex,
        shards,
        dict(encoder.identity),
        encoder.dim,
        str(Tier(str(tier))) if str(tier) in set(Tier) else _no_tier(tier),
        lexical,
        tuple(check_fields(fields)),
        to_setting(chosen if isinstance(chosen, Passages) else None),
        [(*one.shape, one.dtype, one.kernel) for one in encoder.kernels],
    )
    with ExitStack() as stack:
        stack.enter_context(WriterLock(folder / BUILDING / "lock", 0))
        plan = settled_plan(folder / BUILDING / "plan.json", wanted)
        if [tuple(one) for one in plan.kernels] != wanted.kernels:  # begun by a process that chose others
            fix_kernels([(int(a), int(b), str(c), str(d)) for a, b, c, d in plan.kernels])
            encoder = encoder.loader()
        if workers == 0:
            pool: Pool = LocalPool(Worker(folder, plan, encoder, threads, memory))
        else:
            from .workers import RayPool

            pool = RayPool(
                folder,
                plan,
                _loader(encoder, None if isinstance(model, Encoder) else device),
                address,
                workers=workers,
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                threads=threads,
                memory=memory,
            )
        stack.callback(pool.close)
        total = n_documents if n_documents is not None else size_of(source)
        show = stack.enter_context(shown(on_progress, total))
        run = _Run(folder, plan, pool, show or (lambda _: None), total)
        stack.callback(run.close)
        run.encode(chain([first], stream))
        manifest = run.finish()
        if run.n_cut and on_progress is None:
            warn_of_cut(run.n_cut, run.n_documents, encoder)
    shutil.rmtree(folder / BUILDING, ignore_errors=True)
    return manifest


def _loader(encoder: Encoder, device: str | None) -> Callable[[], Encoder]:
    """What loads an encoder in a worker, on the device that is best there, or on that of this one."""
    load: Callable[..., Encoder] = encoder.loader
    return load if device is None else partial(load, device=device)


def check_numbers(shards: object, workers: object) -> None:
    """Refuse numbers of shards and workers that can't be.

    Raises
    ------
    InvalidInputError
        Saying which.
    """
    if isinstance(shards, bool) or not isinstance(shards, int) or not 1 <= shards <= _MOST_SHARDS:
        raise InvalidInputError(f"shards must be a whole number from 1 to {_MOST_SHARDS:,}, not {shards!r}")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise InvalidInputError(f"workers must be a whole number from 0 on, not {workers!r}")


def _no_tier(tier: object) -> str:
    raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {tier!r}")


def prepare(folder: Path) -> Manifest | None:
    """Make the folder of a build; the manifest, where a build of it ended but for the tidying up.

    Raises
    ------
    IndexExistsError
        If it holds a collection, or something else.
    """
    building = folder / BUILDING
    if (folder / MANIFEST).exists():
        if building.exists():
            manifest = Manifest.read(folder)
            shutil.rmtree(building, ignore_errors=True)
            return manifest
        raise IndexExistsError(
            f"{folder} already holds a collection: ShardedRetriever.open(…).add adds to it; or choose "
            "another folder"
        )
    if folder.exists() and not building.is_dir() and any(folder.iterdir()):
        raise IndexExistsError(f"{folder} holds something that is no collection; choose another folder")
    (building / "parts").mkdir(parents=True, exist_ok=True)
    return None


class _Run:
    """One call of a build.

    Parameters
    ----------
    folder, plan, pool
        Where to, what, and by whom.
    show, total
        Told how far it is; how many documents there will be, if that is known.
    """

    def __init__(
        self, folder: Path, plan: Plan, pool: Pool, show: Callable[[Progress], None], total: int | None
    ) -> None:
        self._folder, self._plan, self._pool, self._show, self._total = folder, plan, pool, show, total
        self._building = folder / BUILDING
        for left in (self._building / "parts").glob(".*"):  # of workers that died
            shutil.rmtree(left, ignore_errors=True)
        self._ledger = Ledger(self._building / "ledger.jsonl")
        self._begun = time.monotonic()
        self._has: list[int] = []
        for number in range(plan.n_shards):
            with open_shard(folder, plan, number) as index:
                self._has.append(int(index.settings[LEDGER]["parts"]))
        self._parts: dict[int, tuple[Part, PartDone | None]] = {}
        self._deleted = 0
        self._appending: set[int] = set()
        self._encoding = 0
        self._ended = False
        self.n_documents = self.n_tokens = self.n_cut = self._before = 0

    def close(self) -> None:
        """Close its files."""
        self._ledger.close()

    def encode(self, parts: Iterator[Part]) -> None:
        """Have all parts encoded, and each shard get its documents, in the order of the source."""
        while not (self._ended and not self._encoding and not self._appending and self._is_appended()):
            while not self._ended and self._encoding < _AHEAD * self._pool.n_workers:
                part = next(parts, None)
                if part is None:
                    self._ended = True
                    break
                self._begin(part)
            self._append()
            if self._encoding or self._appending:
                for name, result in self._pool.wait():
                    self._take(name, result)

    def _begin(self, part: Part) -> None:
        """Have a part encoded, unless that was done."""
        known = self._ledger.check(part.number, part.digest, self._folder)
        there = part_path(self._building, part.number, part.digest).exists()
        slim = Part(part.number, part.first, (), part.digest)
        if known is not None and (there or part.number < min(self._has)):
            share = [known.n_tokens // self._plan.n_shards] * self._plan.n_shards
            self._parts[part.number] = slim, PartDone(known.n_tokens, known.n_cut, share)
            self._before += known.n_documents
            self._count(known)
            return
        self._parts[part.number] = slim, None
        self._encoding += 1
        self._pool.submit(("encode", part.number, len(part.documents)), "encode", part)

    def _take(self, name: Any, result: Any) -> None:
        """Take what came of a step."""
        kind, number, n_documents = name
        if kind == "append":
            self._has[number] = result
            self._appending.discard(number)
            self._delete()
            return
        self._encoding -= 1
        part, _ = self._parts[number]
        self._parts[number] = part, result
        line = Line(number, part.digest, n_documents, result.n_tokens, result.n_cut)
        self._ledger.add(line)
        self._count(line)

    def _count(self, line: Line) -> None:
        self.n_documents += line.n_documents
        self.n_tokens += line.n_tokens
        self.n_cut += line.n_cut
        self._tell()

    def _append(self) -> None:
        """Have shards get what waits for them, if it is enough or all there is."""
        ready = self._ready()
        is_last = self._ended and not self._encoding
        for shard, has in enumerate(self._has):
            if shard in self._appending or has >= ready:
                continue
            waiting = [self._parts[number] for number in range(has, ready)]
            n_tokens = sum(done.by_shard[shard] for _, done in waiting if done is not None)
            if n_tokens >= _APPENDED_TOKENS or is_last:
                paths = [str(part_path(self._building, part.number, part.digest)) for part, _ in waiting]
                self._appending.add(shard)
                self._pool.submit(("append", shard, 0), "append", shard, has, paths)

    def _ready(self) -> int:
        """So many parts, from the first on, are encoded."""
        number = min(self._has)
        while number in self._parts and self._parts[number][1] is not None:
            number += 1
        return number

    def _is_appended(self) -> bool:
        return min(self._has) >= len(self._parts) + self._deleted

    def _delete(self) -> None:
        """Delete the parts that all shards have."""
        while self._deleted < min(self._has) and self._deleted in self._parts:
            part, _ = self._parts.pop(self._deleted)
            shutil.rmtree(part_path(self._building, part.number, part.digest), ignore_errors=True)
            self._deleted += 1

    def finish(self) -> Manifest:
        """Train the common codec, compress the shards, and write the manifest."""
        self._tell("train", 0.0)
        self._pool.submit("train", "train")
        [(_, codec)] = self._pool.wait()
        for number in range(self._plan.n_shards):
            self._pool.submit(number, "compress", number)
        done = 0
        while done < self._plan.n_shards:
            done += len(self._pool.wait())
            self._tell("encode", done / self._plan.n_shards)
        manifest = manifest_of(self._folder, self._plan, codec)
        manifest.write(self._folder)
        return manifest

    def _tell(self, phase: str = "index", share: float = 0.0) -> None:
        seconds = time.monotonic() - self._begun
        self._show(
            BuildProgress(
                self.n_documents,
                self.n_tokens,
                seconds,
                self.n_cut,
                phase,
                share,
                None,
                self._total,
                self._before,
            )
        )


def manifest_of(folder: Path, plan: Plan, codec: str | None) -> Manifest:
    """The manifest of the shards of a plan, as they are now."""
    entries = []
    for number in range(plan.n_shards):
        with Index.open(folder / shard_name(number)) as index:
            count = index.sources.count()
            entries.append(ShardEntry(shard_name(number), index.settings["uuid"], index.commit, count))
            fields = tuple(index.settings.get("fields") or ())
    left_out = ("n_shards", "fields", "kernels")
    values = {key: value for key, value in asdict(plan).items() if key not in left_out}
    return Manifest(**values, shards=tuple(entries), codec=codec, fields=fields)
