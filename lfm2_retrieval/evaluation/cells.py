"""The cells of one task: each corpus indexed once, each set of queries encoded once; what fails is noted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder
from ..errors import InvalidInputError, MissingExtraError, RetrievalError
from .adapting import adapt, adapt_values, digest, overlap, share
from .by_words import BY_WORDS, Ranked
from .compat import Compat
from .datasets import Dataset, DatasetRef
from .environment import PeakMemory
from .late_interaction import LateInteraction, encode_queries
from .metrics import evaluate_queries
from .results import Results, cell_name
from .runs import Run, make_run, read_run, write_qrels
from .settings import Settings
from .systems import SYSTEMS

__all__ = ["TaskRun"]


class TaskRun:
    """One task in its languages."""

    def __init__(
        self,
        members: Sequence[DatasetRef],
        encoder: Encoder,
        results: Results,
        settings: Settings,
        on_progress: Callable[[str], None],
    ) -> None:
        self.members = {ref.language: ref for ref in members}
        self.task = members[0].task
        self.encoder, self.results, self.settings, self.say = encoder, results, settings, on_progress
        self._loaded: dict[str, Dataset | RetrievalError] = {}
        self._digests: dict[str, str] = {}
        self._encoded: dict[str, TokenEmbeddings] = {}

    def names(self) -> list[str]:
        """All cells' names."""
        return [
            cell_name(self.task, documents, *cell)
            for documents in self.members
            for cell in self._cells_of(documents)
        ]

    def open(self) -> dict[str, int]:
        """Languages whose documents are needed → cells not noted as measured; nothing is read for that."""
        counts = {
            documents: sum(
                not self.results.is_noted(cell_name(self.task, documents, *cell))
                for cell in self._cells_of(documents)
            )
            for documents in self.members
        }
        return {documents: count for documents, count in counts.items() if count}

    def run(self) -> None:
        """Measure the cells that aren't measured yet, a language's documents at a time."""
        if self.settings.shared_queries:
            self._share()
        for documents in self.members:
            missing = [cell for cell in self._cells_of(documents) if not self._is_done(documents, *cell)]
            if missing:
                self._measure_corpus(documents, missing)
            else:
                self.say(f"{self.task} [{documents}]: done before")

    def _cells_of(self, documents: str) -> list[tuple[str, str]]:
        """The queries and systems that a language's documents are measured with."""
        asked = list(self.members) if self.settings.cross_lingual else [documents]
        return [(queries, system) for queries in asked for system in self.settings.systems]

    def _is_done(self, documents: str, queries: str, system: str) -> bool:
        data = self._data(documents, queries)
        return data is not None and self.results.done(cell_name(self.task, documents, queries, system), data)

    def _data(self, documents: str, queries: str) -> dict[str, str] | None:
        try:
            return {"documents": self._digest(documents), "queries": self._digest(queries)}
        except RetrievalError:
            return None

    def _digest(self, language: str) -> str:
        if language not in self._digests:
            self._digests[language] = digest(self._load(language))
        return self._digests[language]

    def _load(self, language: str) -> Dataset:
        if language not in self._loaded:
            try:
                self._loaded[language] = adapt(self.members[language].read(), self.settings.compat)
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
        """Measure a language's documents; by words apart, as that needs no vectors and no model."""
        for measure, cells in (
            (self._measure_late, [cell for cell in missing if cell[1] not in BY_WORDS]),
            *((self._measure_by_words, [c for c in missing if c[1] == name]) for name in BY_WORDS),
        ):
            try:
                if cells:
                    corpus = self._load(documents)
                    write_qrels(corpus.qrels, self.results.folder / f"{self.task}.{documents}.qrels")
                    measure(corpus, cells)
            except MissingExtraError:
                raise
            except (RetrievalError, RuntimeError, MemoryError, ValueError) as error:
                for queries, system in cells:
                    if not self._is_done(documents, queries, system):
                        self._failed(documents, queries, system, error)

    def _measure_late(self, corpus: Dataset, missing: Sequence[tuple[str, str]]) -> None:
        settings = self.settings
        systems = [name for name in SYSTEMS if name in {system for _, system in missing}]
        self.say(f"{self.task} [{corpus.language}]: encoding {len(corpus.documents):,} documents")
        memory = PeakMemory()
        with LateInteraction(
            self.encoder,
            corpus.documents,
            indexes=list(dict.fromkeys(index for name in systems if (index := SYSTEMS[name].index))),
            batch_size=settings.batch_size,
            compat=settings.compat,
            seed=settings.seed,
        ) as late:
            texts = list(corpus.queries.values())
            latency = {name: late.latency(name, texts) for name in systems}
            self._note_corpus(corpus, late.facts | {"latency": latency, "memory": memory.used()})
            for queries, system in missing:
                self._measure(
                    corpus,
                    queries,
                    system,
                    lambda asked, language=queries, name=system: late.search(  # type: ignore[misc]
                        name, self._encode(language, asked), list(asked.values()), settings.depth
                    ),
                )
            self._note_corpus(corpus, {"memory": memory.used()})

    def _measure_by_words(self, corpus: Dataset, missing: Sequence[tuple[str, str]]) -> None:
        """Cells of one system."""
        name = missing[0][1]
        with BY_WORDS[name](corpus.documents) as searched:
            self._note_corpus(corpus, {name: searched.facts})
            for queries, _ in missing:
                self._measure(
                    corpus,
                    queries,
                    name,
                    lambda asked: searched.search(list(asked.values()), self.settings.depth),
                )

    def _note_corpus(self, corpus: Dataset, facts: Mapping[str, Any]) -> None:
        """Note facts of a corpus and the run that measured them; those of its other indexes stay."""
        corpora = self.results.content["corpora"]
        before = corpora.setdefault(f"{self.task}.{corpus.language}", {})
        for key in ("indexes", "latency"):
            if key in facts:
                facts = {**facts, key: {**before.get(key, {}), **facts[key]}}
        before.update(facts, run=self.results.run)

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
            adapt_values(values, corpus.qrels, self.settings.compat, self.settings.depth)
            if SYSTEMS[system].is_tier and "exact" in self.settings.systems:
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
