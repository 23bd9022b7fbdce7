"""Run a suite: encode and index each corpus once, each set of queries once, and measure every cell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder
from ..errors import InvalidInputError, MissingExtraError, RetrievalError
from ..indexes import Tier
from .adapting import adapt, digest, overlap, share
from .datasets import Dataset, DatasetRef
from .environment import describe_environment, peak_memory
from .estimate import estimate
from .metrics import evaluate_queries
from .results import Results, cell_name
from .runs import Run, make_run, read_run, write_qrels
from .systems import Bm25, Compat, LateInteraction, Ranked, encode_queries
from .throughput import measure_throughput

__all__ = ["Settings", "run_suite"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Parameters
    ----------
    index
        "exact": MaxSim with every document on float16 vectors. "compressed": that and, beside it, a
        compressed index.
    tier
        Of the compressed index.
    bm25
        Whether to measure BM25, too.
    cross_lingual
        Whether to ask each language's documents in every language.
    shared_queries
        Whether to measure a task on the queries that all its languages have. Without it a language that lacks
        some is an error.
    compat
        Whose evaluator to reproduce.
    depth
        How many documents a query gets, at least 100; 1,000 with mteb's.
    batch_size
        Documents encoded at a time.
    seed
        Of the bootstrap and of compressing.
    """

    index: Literal["exact", "compressed"] = "exact"
    tier: Tier = Tier.BALANCED
    bm25: bool = False
    cross_lingual: bool = False
    shared_queries: bool = False
    compat: Compat | None = None
    depth: int = 100
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.depth < 100:
            raise InvalidInputError(
                f"the depth must be at least 100, for R@100 and nDCG@100, not {self.depth}"
            )
        if self.compat is Compat.MTEB and self.depth < 1000:
            object.__setattr__(self, "depth", 1000)

    @property
    def systems(self) -> tuple[str, ...]:
        """What each cell is measured with."""
        compressed = ("compressed",) if self.index == "compressed" else ()
        return ("exact", *compressed, *(("bm25",) if self.bm25 else ()))


def run_suite(
    refs: Sequence[DatasetRef],
    encoder: Encoder,
    out: Path,
    settings: Settings,
    *,
    suite: Mapping[str, Any],
    overwrite: bool = False,
    throughput: bool = False,
    on_progress: Report = lambda _: None,
) -> dict[str, Any]:
    """Measure every cell that isn't measured yet; what fails is noted and the rest goes on.

    Parameters
    ----------
    refs
        The sets. With ``settings.cross_lingual`` the sets of a task are asked in each other's languages.
    encoder
        The model.
    out
        The folder for the results, see `lfm2_retrieval.evaluation.results`.
    suite
        JSON values: ``name``, ``title``, ``published``.
    overwrite
        Measure anew what is there.
    throughput
        Measure the encoder's speed by length and batch, too, if that isn't there.
    on_progress
        Told what happens, a line at a time.

    Returns
    -------
    dict
        The contents of ``results.json``.

    Raises
    ------
    InvalidInputError
        If there are no sets, or the folder holds results made in another way.
    MissingExtraError
        If a package is missing.
    OSError
        If the results can't be written.
    """
    if not refs:
        raise InvalidInputError("there are no sets to measure")
    tasks: dict[str, list[DatasetRef]] = {}
    for ref in refs:
        tasks.setdefault(ref.task, []).append(ref)
    if settings.cross_lingual and all(len(members) < 2 for members in tasks.values()):
        raise InvalidInputError(
            "across languages needs a task in several of them: folders called NAME-LANG with the same ids"
        )
    results = Results(out, _heading(encoder, settings, suite), overwrite=overwrite)
    results.save()
    on_progress(
        estimate(
            refs,
            encoder,
            cross_lingual=settings.cross_lingual,
            systems=len(settings.systems),
            documents_per_language=suite.get("documents_per_language", 0),
        )
    )
    for members in tasks.values():
        _Task(members, encoder, results, settings, on_progress).run()
    if throughput and "throughput" not in results.content:
        on_progress("measuring the encoder's speed")
        results.content["throughput"] = measure_throughput(encoder, list(_texts(refs)))
    results.summarise(settings.seed)
    return results.content


def _texts(refs: Sequence[DatasetRef], count: int = 500) -> Iterator[str]:
    """Some documents of the first set that can be read."""
    for ref in refs:
        try:
            yield from list(ref.load().documents.values())[:count]
        except RetrievalError:
            continue
        return


def _heading(encoder: Encoder, settings: Settings, suite: Mapping[str, Any]) -> dict[str, Any]:
    model = {
        **encoder.identity,
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "device": str(encoder.device),
    }
    same = ("tier", "shared_queries", "compat", "depth", "seed")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "suite": dict(suite),
        "identity": {
            "suite": suite["name"],
            "model": f"{encoder.name} {encoder.fingerprint}",
            "dtype": model["dtype"],
            **{name: value for name, value in asdict(settings).items() if name in same},
        },
        "settings": asdict(settings),
        "model": model,
        "environment": describe_environment(),
    }


class _Task:
    """One task in its languages."""

    def __init__(
        self,
        members: Sequence[DatasetRef],
        encoder: Encoder,
        results: Results,
        settings: Settings,
        on_progress: Report,
    ) -> None:
        self.members = {ref.language: ref for ref in members}
        self.task = members[0].task
        self.encoder, self.results, self.settings, self.say = encoder, results, settings, on_progress
        self._loaded: dict[str, Dataset | RetrievalError] = {}
        self._encoded: dict[str, TokenEmbeddings] = {}

    def run(self) -> None:
        """Measure all cells, a language's documents at a time."""
        if self.settings.shared_queries:
            self._share()
        for documents in self.members:
            asked = list(self.members) if self.settings.cross_lingual else [documents]
            missing = [
                (queries, system)
                for queries in asked
                for system in self.settings.systems
                if not self._is_done(documents, queries, system)
            ]
            if missing:
                self._measure_corpus(documents, missing)
            else:
                self.say(f"{self.task} [{documents}]: done before")

    def _is_done(self, documents: str, queries: str, system: str) -> bool:
        data = self._data(documents, queries)
        return data is not None and self.results.done(cell_name(self.task, documents, queries, system), data)

    def _data(self, documents: str, queries: str) -> dict[str, str] | None:
        try:
            return {"documents": digest(self._load(documents)), "queries": digest(self._load(queries))}
        except RetrievalError:
            return None

    def _load(self, language: str) -> Dataset:
        if language not in self._loaded:
            try:
                self._loaded[language] = adapt(self.members[language].load(), self.settings.compat)
            except MissingExtraError:
                raise
            except RetrievalError as error:
                self._loaded[language] = error
        found = self._loaded[language]
        if isinstance(found, RetrievalError):
            raise found
        self.results.content["data"][f"{self.task}.{language}"] = dict(found.source)
        return found

    def _share(self) -> None:
        """Leave the queries that all languages have; those that can't be read have no say."""
        for language in self.members:
            with suppress(RetrievalError):
                self._load(language)
        read = [one for one in self._loaded.values() if isinstance(one, Dataset)]
        try:
            self._loaded |= {one.language: one for one in share(read)}
        except InvalidInputError as error:
            self._loaded |= dict.fromkeys(self.members, error)

    def _cell(self, documents: str, queries: str, system: str) -> dict[str, Any]:
        return {
            "name": cell_name(self.task, documents, queries, system),
            "task": self.task,
            "documents": documents,
            "queries": queries,
            "system": system,
        }

    def _measure_corpus(self, documents: str, missing: Sequence[tuple[str, str]]) -> None:
        try:
            corpus = self._load(documents)
            systems = {system for _, system in missing}
            write_qrels(corpus.qrels, self.results.folder / f"{self.task}.{documents}.qrels")
            if systems & {"exact", "compressed"}:
                self._measure_late(
                    corpus, [(queries, system) for queries, system in missing if system != "bm25"]
                )
            if "bm25" in systems:
                self._measure_bm25(corpus, [queries for queries, system in missing if system == "bm25"])
        except MissingExtraError:
            raise
        except (RetrievalError, RuntimeError, MemoryError, ValueError) as error:
            for queries, system in missing:
                if not self._is_done(documents, queries, system):
                    self._failed(documents, queries, system, error)

    def _measure_late(self, corpus: Dataset, missing: Sequence[tuple[str, str]]) -> None:
        settings = self.settings
        tier = settings.tier if settings.index == "compressed" else None
        self.say(f"{self.task} [{corpus.language}]: encoding {len(corpus.documents):,} documents")
        with LateInteraction(
            self.encoder,
            corpus.documents,
            tier=tier,
            batch_size=settings.batch_size,
            compat=settings.compat,
            seed=settings.seed,
        ) as late:
            facts = late.facts | {"peak_memory_bytes": peak_memory()}
            facts["latency"] = {
                name: late.latency(name, list(corpus.queries.values())) for name in late.stores
            }
            self._note_corpus(corpus, facts)
            for queries, system in missing:
                self._measure(
                    corpus,
                    queries,
                    system,
                    lambda asked, language=queries, name=system: late.search(  # type: ignore[misc]
                        name, self._encode(language, asked), settings.depth
                    ),
                )

    def _measure_bm25(self, corpus: Dataset, missing: Sequence[str]) -> None:
        baseline = Bm25(corpus.documents)
        self._note_corpus(corpus, {"bm25": baseline.facts})
        for queries in missing:
            self._measure(
                corpus,
                queries,
                "bm25",
                lambda asked: baseline.search(list(asked.values()), self.settings.depth),
            )

    def _note_corpus(self, corpus: Dataset, facts: Mapping[str, Any]) -> None:
        corpora = self.results.content["corpora"]
        name = f"{self.task}.{corpus.language}"
        corpora[name] = {**corpora.get(name, {}), **facts}

    def _encode(self, language: str, asked: Mapping[str, str]) -> TokenEmbeddings:
        """A language's queries, encoded once; they are the same for all corpora, or encoded again."""
        key = f"{language} {hashlib.sha256(json.dumps(list(asked)).encode()).hexdigest()}"
        if key not in self._encoded:
            vectors, facts = encode_queries(self.encoder, list(asked.values()), self.settings.compat)
            self._encoded[key] = vectors
            self.results.content["corpora"].setdefault(f"{self.task}.{language}", {})["queries"] = facts
        return self._encoded[key]

    def _measure(
        self, corpus: Dataset, language: str, system: str, search: Callable[[Mapping[str, str]], Ranked]
    ) -> None:
        """Measure a cell; what fails is noted."""
        cell = self._cell(corpus.language, language, system)
        try:
            asked = self._asked(corpus, language)
            ranked = search(asked)
            if self.settings.compat is Compat.MTEB:
                ranked = [
                    sorted(rows, key=lambda row: (np.float32(row[1]), row[0]), reverse=True)
                    for rows in ranked
                ]
            run = make_run(dict(zip(asked, ranked, strict=True)))
            values = evaluate_queries(
                corpus.qrels, {query: [id for id, _ in rows] for query, rows in run.items()}
            )
            if system == "compressed":
                cell["against_exact"] = self._against_exact(corpus.language, language, run)
            cell["data"] = self._data(corpus.language, language)
            cell["n_documents"], cell["n_queries"] = len(corpus.documents), len(asked)
        except MissingExtraError:
            raise
        except (RetrievalError, RuntimeError, MemoryError, ValueError) as error:
            self._failed(corpus.language, language, system, error)
            return
        self.results.add(cell, run, values, self.settings.seed)
        mean = sum(value["nDCG@10"] for value in values.values()) / len(values)
        self.say(f"{cell['name']}: nDCG@10 {mean:.4f}")

    def _asked(self, corpus: Dataset, language: str) -> dict[str, str]:
        queries = self._load(language).queries
        if missing := [query for query in corpus.qrels if query not in queries]:
            raise InvalidInputError(
                f"{self.task}: the queries in {language} lack {len(missing)} of the {len(corpus.qrels)} "
                f"that the documents in {corpus.language} are judged for, such as {missing[0]!r}; "
                "--shared-queries measures on those that all languages have"
            )
        return {query: queries[query] for query in corpus.qrels}

    def _against_exact(self, documents: str, queries: str, run: Run) -> dict[str, float]:
        exact = read_run(self.results.folder / f"{cell_name(self.task, documents, queries, 'exact')}.trec")
        return {f"recall@{k}": overlap(exact, run, k) for k in (10, 100)}

    def _failed(self, documents: str, queries: str, system: str, error: BaseException) -> None:
        cell = self._cell(documents, queries, system)
        reason = " ".join((str(error) or type(error).__name__).split())
        self.results.fail(cell, reason)
        self.say(f"{cell['name']}: FAILED: {reason}")
