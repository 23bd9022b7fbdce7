"""The facade: an encoder, an index and the documents in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..documents import Limits, ReadOptions
from ..encoder import DocumentKeywords, Encoder, LongDocuments, Precision
from ..errors import CheckpointError, DamagedIndexError, InvalidInputError, ModelMismatchError
from ..indexes import Index, OnConflict, Tier, Where, check_fields, parse_memory
from ..keywords import check_keywords
from ..platform.threads import by_own_threads, check_threads, using
from ..records import Source, check_columns
from . import changes
from .answering import tune
from .change_run import ChangeCounts
from .document_changes import replace_documents
from .document_run import DocumentCounts, VectorCache
from .indexing import Given, begin
from .own_encoder import ModelChoice
from .progress import Show, shown
from .reading import ReadingRetriever
from .recorded import check_recorded
from .reindexing import reindex
from .target import IfExists, Target

if TYPE_CHECKING:
    from ..datatypes import TokenEmbeddings
    from ..documents import Passages
    from ..indexes import Tuning
    from ..indexes.recovery import Repair
    from .syncing import SyncReport

__all__ = ["Retriever"]


class Retriever(ReadingRetriever):
    """Search in documents by late interaction; made by :meth:`index` or :meth:`open`, shared by any threads.

    It is pickled by path and settings: another process opens the index and loads the model. A copy opens the
    index anew, reads its newest commit, is closed by itself and shares the model.

    Attributes
    ----------
    store
        The index with its documents.
    """

    @classmethod
    @check_keywords("Retriever.index")
    def index(
        cls,
        documents: Iterable[Source],
        path: str | Path | None = None,
        *,
        model: str | Path | Encoder | None = None,
        tier: Tier | str | None = None,
        if_exists: IfExists = "error",
        lexical: bool | None = None,
        fields: Sequence[str] = (),
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        trust_model: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
        batch_size: int = 256,
        memory: str | int = "2GB",
        n_documents: int | None = None,
        on_progress: Show | bool | None = None,
        long_documents: LongDocuments | None = None,
        document_length: int | None = None,
        pool_factor: int | None = None,
        protected_tokens: int | None = None,
        passages: Passages | Literal["auto", "none"] = "auto",
        threads: int | None = None,
    ) -> Retriever:
        """Encode documents and put them into an index.

        Parameters
        ----------
        documents
            Strings, mappings or :class:`Document`, also mixed. A string's id is its number, counted on from
            what was ever added; a mapping has ``text`` and may have ``id`` (or ``_id``), ``title``, which is
            put in front of the text, and ``metadata``; its other keys count as metadata. Mappings are
            also the rows of frames (pandas, Polars), Arrow tables, Hugging Face data sets, database cursors,
            and the documents of LangChain, LlamaIndex and Haystack. Ids may be whole numbers, which count
            as their digits. Dates become ISO strings (with a zone: in UTC), other libraries' numbers numbers;
            None and NaN are absent. A list or a frame is checked as a
            whole before any work; of an iterator, what came before a bad document, or before it raised, stays
            in the index, unless the index was to be overwritten: then the old one stays. It is drawn from
            in the thread of the call, a few batches ahead of the encoder.
            Documents without text are stored and never found. An iterator is never held as a whole: every
            2¹⁸ vectors are committed, and compressed as soon as there are enough. Overwriting takes one
            commit, and so 260 bytes a vector on disk until it is through.
        path
            The index's folder; None for a temporary one, gone after :meth:`close`.
        model
            An encoder, or what :meth:`Encoder.load` takes. By default the one an index to append to was made
            with, else LFM2-ColBERT-350M.
        tier
            What the index is compressed to once it is large: ``"compact"``, ``"balanced"``, ``"accurate"`` or
            ``"exact"`` for never. By default that of the index at ``path``, else ``"balanced"``.
        if_exists
            What to do when ``path`` already holds an index.
        lexical
            Whether the words of the texts are kept, for ``search(mode="lexical")`` and ``"hybrid"``. By
            default as the index at ``path`` does, else True.
        fields
            Fields of the metadata that get columns with an index, which makes filters on them fast; beside
            those that the index at ``path`` has.
        text, id
            Which key or column of the rows is the text, by default ``text``, and which the id.
        metadata
            The keys or columns that are kept as metadata, by default all that are left.
        trust_model
            Whether an index to append to may name any model; see :meth:`open`.
        device, dtype
            See :meth:`Encoder.load`.
        batch_size
            How many documents are encoded at a time.
        memory
            What compressing the index may use; see :meth:`Index.build`.
        n_documents
            How many documents there will be, if ``documents`` has no length: the codec is made for them.
        on_progress
            Called after each batch, and now and then while the index is compressed. True shows a bar on
            stderr.
        long_documents, document_length, pool_factor, protected_tokens
            How documents are read, see :class:`DocumentOptions`. By default as the encoder does, and as the
            index to append to was made.
        passages
            Whether documents are split into passages, which are what is encoded and found, so that nothing of
            a long one is cut: :class:`~lfm2_retrieval.documents.Passages` says how long they are. The index
            keeps this, and splits what is added later alike. ``"auto"``: documents that were read from
            files are, as by ``Passages()``, others aren't; and as the index to append to was made.
            ``"none"``: none are.
        threads
            How many threads may work on this call, and on those of the retriever that don't say; see
            :meth:`open`.

        Raises
        ------
        IndexExistsError
            If ``path`` holds an index and ``if_exists`` is ``"error"``, or holds something else.
        InvalidInputError
            If a document has no text, or an id that is no string or comes twice; if the index to append to
            was made with other options.
        ModelMismatchError
            If the index to append to was made with another model.
        ModelNotFoundError, CheckpointError
            If the model can't be loaded.
        KeyboardInterrupt
            As ever; the documents encoded until then are in the index.
        """
        options = DocumentKeywords(
            long_documents=long_documents,
            document_length=document_length,
            pool_factor=pool_factor,
            protected_tokens=protected_tokens,
        )
        target = Target.of(
            path,
            if_exists=if_exists,
            tier=tier,
            lexical=lexical,
            fields=check_fields(fields),
            options=options,
            model=model,
            passages=passages,
        )
        given = Given(documents, check_columns(text, id, metadata), batch_size, n_documents)
        n_bytes = parse_memory(memory)
        check_threads(threads)
        run = begin(target, given, ModelChoice(model, trust_model, device, dtype))
        retriever = cls(run.store, run.load, threads)
        try:
            with using(threads), shown(on_progress, given.n_documents) as show:
                run.run(n_bytes, show)
        except BaseException:
            retriever.close()
            raise
        return retriever

    @classmethod
    @check_keywords("Retriever.open")
    def open(
        cls,
        path: str | Path,
        *,
        model: str | Path | Encoder | None = None,
        trust_model: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
        auto_refresh: bool = False,
        threads: int | None = None,
    ) -> Retriever:
        """Open an index. The model is loaded when it is first needed, or by :meth:`warm_up`.

        What is found and read is of the commit that was the newest then, until :meth:`refresh`.

        Parameters
        ----------
        path
            The index's folder.
        model
            The index's own model, where it lies now; another model is refused at first use. By default the
            one that the index names, if that is bundled or published by the family's makers: an index that
            somebody sent could name any folder of this machine, and any repository on the hub.
        trust_model
            Load whatever model the index names.
        device, dtype
            See :meth:`Encoder.load`.
        auto_refresh
            Look for a newer commit before each call instead.
        threads
            How many threads may work on a call that doesn't say: one that encodes, searches or compresses.
            None: what the variable ``LFM2_RETRIEVAL_THREADS`` says; else one for a single query, and for all
            else as many as there are processors to use. Results don't depend on it.

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        check_threads(threads)
        store = Index.open(path, auto_refresh=auto_refresh)
        return cls(store, partial(ModelChoice(model, trust_model, device, dtype).of_index, store), threads)

    @classmethod
    @check_keywords("Retriever.reindex")
    def reindex(
        cls,
        path: str | Path,
        model: str | Path | Encoder | None = None,
        *,
        trust_model: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
        batch_size: int = 256,
        memory: str | int = "2GB",
        on_progress: Show | bool | None = None,
        threads: int | None = None,
    ) -> Retriever:
        """Encode all documents of an index anew: after an update of its model, or with another one.

        Documents, ids, their order, metadata, tier, fields, words and how documents are read stay as they
        are; what was tuned is forgotten. Texts are encoded as they are stored. It takes one commit: until
        then, and if it is interrupted or killed, the old index is there and is searched; then open
        retrievers go on to the new one with :meth:`refresh`. Others can't write meanwhile: they wait, and
        then get :class:`IndexLockedError`. Beside the old index this takes 2 bytes a dimension, so 260 a
        vector of 128, on disk until the new one is compressed. The old model needn't be there any more.

        Parameters
        ----------
        path
            The index's folder.
        model
            As for :meth:`index`; by default today's model of the name that the index records.
        trust_model
            Load whatever model the index names; see :meth:`open`.
        device, dtype
            See :meth:`Encoder.load`.
        batch_size, memory, on_progress, threads
            As for :meth:`index`.

        Raises
        ------
        InvalidInputError
            If a document has vectors and no text, which is found before anything is encoded, or the index
            doesn't say which model made it.
        IndexNotFoundError, DamagedIndexError, IndexLockedError, IndexWriteError
            If there is no index; if it is damaged; if another writes; if the disk is full.
        ModelNotFoundError, CheckpointError
            If the model can't be loaded.
        UntrustedModelError
            If the index names another one than :meth:`open` loads without being asked.
        """
        check_threads(threads)
        choice = ModelChoice(model, trust_model, device, dtype)
        store = Index.open(path)
        try:
            with using(threads):
                encoder = reindex(store, choice, parse_memory(memory), batch_size, on_progress)
        except BaseException:
            store.close()
            raise
        return cls(store, partial(ModelChoice(encoder).of_index, store), threads)

    @classmethod
    @check_keywords("Retriever.repair")
    def repair(
        cls,
        path: str | Path,
        *,
        model: str | Path | Encoder | None = None,
        trust_model: bool = False,
        dry_run: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> Repair:
        """Put an index of everything that is left in the place of a damaged one, which stays beside it.

        Documents of which only the vectors are lost are encoded again.

        Parameters
        ----------
        path
            The index's folder.
        model
            Where the index's own model lies now. Without it, documents stay without vectors if the model
            isn't where it was; with it, it must be the index's.
        trust_model
            Load whatever model the index names; see :meth:`open`.
        dry_run
            Only say what is damaged.
        device, dtype
            See :meth:`Encoder.load`.

        Raises
        ------
        IndexNotFoundError, DamagedIndexError
            If there is no index, or nothing left of it.
        IndexWriteError, IndexLockedError
            If the new index can't be written, or another process writes to the old one.
        ModelMismatchError, UntrustedModelError
            If ``model`` isn't the index's, or isn't given where it must be; then nothing is changed.
        """
        from ..indexes.recovery import repair

        choice = ModelChoice(model, trust_model, device, dtype)

        def encode(texts: Sequence[str], settings: Mapping[str, Any]) -> TokenEmbeddings | None:
            try:
                recorded = check_recorded(Path(path), settings.get("encoder"))
                encoder = choice.of(Path(path), recorded)
            except (InvalidInputError, CheckpointError, DamagedIndexError, ModelMismatchError):
                if model is not None:
                    raise
                return None
            return encoder.encode_documents(texts)

        return repair(path, dry_run=dry_run, encode=encode)

    @check_keywords("Retriever.tune")
    @by_own_threads
    def tune(
        self,
        target_recall: float = 0.98,
        k: int = 10,
        *,
        queries: Sequence[str] | None = None,
        sample: int = 100,
        keep: float = 0.98,
        on_progress: Callable[[str], None] | None = None,
    ) -> Tuning:
        """Find the fastest way to search that reaches a recall, and from which score on a hit is an answer.

        Both are stored with the index: the first is its default, the second what ``min_score="auto"`` means.
        See :meth:`Index.tune`.

        Parameters
        ----------
        target_recall, k, sample
            As there.
        queries
            What people will ask, and the collection answers. Without them, passages of stored documents,
            which are easier: the threshold is too high for real questions then.
        keep
            The share of the questions that ``min_score="auto"`` shall leave a hit.
        on_progress
            Told what goes on.

        Returns
        -------
        Tuning
            With ``min_score``: the threshold, the share of questions that it keeps, and that of queries of
            random words of the collection.

        Raises
        ------
        InvalidInputError
            If an argument can't be used, or the index is empty.
        """
        return tune(
            self.store,
            lambda: self.encoder,
            target_recall,
            k,
            queries=queries,
            sample=sample,
            keep=keep,
            on_progress=on_progress,
        )

    @by_own_threads
    def add(
        self,
        documents: Iterable[Source],
        *,
        on_conflict: OnConflict = "error",
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> ChangeCounts:
        """Encode documents and add them, in one commit or in that of the transaction.

        Parameters
        ----------
        documents
            As for :meth:`Retriever.index`; an iterator is never held as a whole. A string's id is a number
            that no string had before.
        on_conflict
            If the index holds an id: ``"error"`` adds nothing, ``"skip"`` leaves the old document,
            ``"replace"`` puts the new one in its place: where the text is the same, without encoding it;
            where all is the same, nothing is written.
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size
            How many documents are encoded at a time.
        timeout
            Seconds to wait for another writer. The first batch is encoded before the lock is taken.

        Returns
        -------
        ChangeCounts
            How many of the documents the index now holds as they were given, as a number; with ``added``,
            ``changed``, ``unchanged`` and ``skipped``.

        Raises
        ------
        DuplicateIdError
            If an id comes twice, or, with ``"error"``, is in the index.
        InvalidInputError
            If a document can't be used.
        ModelMismatchError
            If the model is not the one that the index was made with; nothing is encoded then.
        IndexLockedError, IndexWriteError
            If another writer takes longer than ``timeout``; if the disk is full.

        Warns
        -----
        TruncationWarning
            If texts were longer than the model reads.
        """
        columns = check_columns(text, id, metadata)
        return changes.add(
            self.store,
            lambda: self.encoder,
            documents,
            on_conflict=on_conflict,
            columns=columns,
            batch_size=batch_size,
            timeout=timeout,
        )

    @by_own_threads
    def update(
        self,
        documents: Iterable[Source],
        *,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> ChangeCounts:
        """Change documents, in one commit or in that of the transaction. They keep their place in the order.

        Parameters
        ----------
        documents
            ``Document``s, which replace text and metadata, or rows with ``id`` and what is to change:
            ``text``, ``title``, ``metadata`` (replaced as a whole); their other keys count as metadata. A
            title that stands in front of the text does so afterwards, whichever of the two changes, and
            stays where metadata are given without one; the stored text, title and all, may be given as the
            text, too. A text that comes out the same isn't encoded: then only a row is written, and none
            where the metadata are the same, too.
        text, id, metadata
            Which columns of rows are what, as for :meth:`Retriever.index`.
        batch_size, timeout
            As for :meth:`add`.

        Returns
        -------
        ChangeCounts
            How many documents were given, as a number; with ``changed`` and ``unchanged``.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id; then nothing is changed.
        InvalidInputError, DuplicateIdError, ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        columns = check_columns(text, id, metadata)
        return changes.update(
            self.store,
            lambda: self.encoder,
            documents,
            columns=columns,
            batch_size=batch_size,
            timeout=timeout,
        )

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
        timeout: float = 30.0,
    ) -> int:
        """Delete documents by id, by filter or all, in one commit or in that of the transaction.

        Parameters
        ----------
        ids
            One, or several.
        where
            A filter as for :meth:`Retriever.search`. It looks at the newest commit. One that says nothing,
            such as ``{}``, is refused.
        all
            Delete all documents.
        missing_ok
            Whether ids that the index doesn't hold are passed over.
        timeout
            Seconds to wait for another writer.

        Returns
        -------
        int
            How many were deleted.

        Raises
        ------
        UnknownIdError
            If the index doesn't hold an id, unless ``missing_ok``; then nothing is deleted.
        InvalidInputError
            If not one of ``ids``, ``where`` and ``all`` is given, the filter isn't understood, or says
            nothing.
        IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        return self.store.delete(ids, where=where, all=all, missing_ok=missing_ok, timeout=timeout)

    @by_own_threads
    def replace_documents(
        self,
        put: Iterable[Source] = (),
        *,
        delete: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        facts: Callable[[str], Mapping[str, Any]] | None = None,
        cache: VectorCache | None = None,
        on_progress: Callable[[DocumentCounts], None] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> DocumentCounts:
        """Delete, rename and put whole documents, in this order and in one commit.

        Of a document that the index holds only those passages are encoded that it hasn't in this form, by
        text and headings; the others keep their ids and vectors.

        Parameters
        ----------
        put
            Documents to add, or to put in the place of those under their ids; as for :meth:`index`. They are
            drawn from under the writer lock, but for the first batch, and never held as a whole; with a cache
            before it, and they wait in a file.
        delete
            Ids of documents; each must be there.
        rename
            The new ids of documents, which may be put under these, too. Nothing is encoded.
        facts
            What to keep with the document under an id (JSON values), beside what a
            :class:`~lfm2_retrieval.documents.FileDocument` knows; asked of those put and renamed.
        cache
            Where vectors of passages are looked for before they are encoded, and kept afterwards: so a
            run that was killed goes on where it was, and all that it keeps is encoded before the writer lock
            is taken.
        on_progress
            Told after each batch what was done so far.
        batch_size, timeout
            As for :meth:`add`.

        Raises
        ------
        InvalidInputError
            If the index holds no passages, or a document can't be used.
        UnknownIdError
            If one that is to be deleted or renamed isn't there; then nothing is changed.
        DuplicateIdError, ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        return replace_documents(
            self.store,
            lambda: self.encoder,
            put,
            delete=delete,
            rename=rename or {},
            facts=facts or (lambda _: {}),
            cache=cache,
            on_progress=on_progress,
            batch_size=batch_size,
            timeout=timeout,
        )

    @by_own_threads
    def sync(
        self,
        folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = True,
        dry_run: bool = False,
        delete: bool = True,
        allow_empty: bool = False,
        text: str | None = None,
        id: str | None = None,
        metadata: Sequence[str] | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        types: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        on_progress: Callable[[DocumentCounts], None] | None = None,
        batch_size: int = 256,
        timeout: float = 30.0,
    ) -> SyncReport:
        """Bring the index to what folders hold now, in one commit.

        Files that are new or changed are read and put; documents of files that are gone, or left out by now,
        are deleted; those of renamed files are renamed without being encoded. Content decides, not dates. Of
        a changed file only the passages that changed are encoded. Documents that lie in none of the folders
        stay as they are. A file that is there and can't be read keeps what the index has of it.

        A document's id is the path of its file in its folder, behind the folder's name where the index holds
        others. Files are found again by their absolute paths, whatever the folder is called in a call. A run
        that was killed goes on where it was: vectors are kept in the index's folder until they are committed.

        Parameters
        ----------
        folders
            One, or several. One that isn't there, or holds none of the files that the index has of it, or of
            which more than half of the documents (and more than 100) would be deleted, is an error, and
            nothing is changed. Documents of files on a disk beneath a folder that isn't mounted stay.
        include, exclude, gitignore, text, id, metadata, delimiter, encoding, types, limits
            As for :func:`lfm2_retrieval.documents.read`. What patterns leave out is deleted from the index.
        dry_run
            Only say what would be done.
        delete
            Whether documents of files that are gone are deleted.
        allow_empty
            Whether a folder may hold none of the files that the index has of it, or few, or lack a disk.
        on_progress
            Told after each batch what was done so far.
        batch_size, timeout
            As for :meth:`add`; another sync of this index is waited for, too.

        Returns
        -------
        SyncReport
            Files by what became of them, passages encoded, and what was left out and why.

        Raises
        ------
        InvalidInputError
            If the index holds no passages (make it with ``passages=``), or a folder can't be used.
        ModelMismatchError, IndexLockedError, IndexWriteError
            As for :meth:`add`.
        """
        from .syncing import SyncRequest, sync

        options = ReadOptions(
            text=text,
            id=id,
            metadata=None if metadata is None else tuple(metadata),
            delimiter=delimiter,
            encoding=encoding,
            types=types or {},
            include=(include,) if isinstance(include, str) else tuple(include),
            exclude=(exclude,) if isinstance(exclude, str) else tuple(exclude),
            gitignore=gitignore,
        )
        given = [folders] if isinstance(folders, (str, os.PathLike)) else folders
        request = SyncRequest(
            [os.fspath(one) for one in given], options, delete, allow_empty, limits, batch_size, timeout
        )
        return sync(self, request, dry_run=dry_run, on_progress=on_progress)

    def transaction(self, *, timeout: float = 30.0) -> AbstractContextManager[None]:
        """``with retriever.transaction():`` makes one commit of all changes in the block.

        An exception drops them all. Searches and look-ups inside go on seeing what was committed before;
        changes see each other, so that an id can be deleted and added again. The block belongs to its thread
        and holds the writer lock. Memory doesn't grow with what is added.

        Raises
        ------
        TransactionError
            Inside another transaction.
        IndexLockedError
            If another writer takes longer than ``timeout`` seconds.
        """
        return self.store.transaction(timeout=timeout)

    @by_own_threads
    def merge(self, *, retrain: bool | None = None, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """Tidy up: few large segments, nothing dead on disk; see :meth:`Index.merge`."""
        return self.store.merge(retrain=retrain, memory=memory, timeout=timeout)
