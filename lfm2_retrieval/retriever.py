"""The facade: an encoder, an index and the documents in it."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .answering import check_keep, learn_from
from .changes import LivingDocuments
from .datatypes import TokenEmbeddings
from .display import html_table
from .encoder import DEFAULT_MODEL, DocumentKeywords, DocumentOptions, Encoder, LongDocuments, Precision
from .errors import (
    CheckpointError,
    DamagedIndexError,
    IndexClosedError,
    InvalidInputError,
    ModelMismatchError,
    remedy,
)
from .forks import Lock
from .frames import collected, length
from .indexes import CompressedIndex, Tier
from .indexes.fields import check_fields
from .indexes.policy import parse_memory
from .ingest import Ingest, batches, refuse_one
from .keywords import check_keywords
from .progress import Show, shown
from .recorded import check_recorded, recorded_model, recorded_options
from .records import Source, check_columns
from .reindexing import check_texts, encode_anew
from .searching import Searching, load_encoder
from .target import IfExists, Target

if TYPE_CHECKING:
    from types import TracebackType

    from .indexes import Tuning
    from .indexes.repair import Repair

__all__ = ["Retriever"]


class Retriever(LivingDocuments, Searching):
    """Search in documents by late interaction; made by :meth:`index` or :meth:`open`, shared by any threads.

    It is pickled by path and settings: another process opens the index and loads the model. A copy opens the
    index anew, reads its newest commit, is closed by itself and shares the model.

    Attributes
    ----------
    store
        The index with its documents.
    """

    def __init__(self, store: CompressedIndex, load: Callable[[], Encoder]) -> None:
        self.store = store
        self._load = load
        self._encoder: Encoder | None = None
        self._encoder_of: dict[str, Any] | None = None
        self._loading = Lock()

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
            What compressing the index may use; see :meth:`CompressedIndex.build`.
        n_documents
            How many documents there will be, if ``documents`` has no length: the codec is made for them.
        on_progress
            Called after each batch, and now and then while the index is compressed. True shows a bar on
            stderr.
        long_documents, document_length, pool_factor, protected_tokens
            How documents are read, see :class:`DocumentOptions`. By default as the encoder does, and as the
            index to append to was made.

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
        if if_exists not in ("error", "append", "overwrite"):
            raise InvalidInputError(f"if_exists must be 'error', 'append' or 'overwrite', not {if_exists!r}")
        if tier is not None and tier not in set(Tier):
            raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {tier!r}")
        refuse_one(documents)
        if isinstance(model, Encoder):
            given = {name: value for name, value in options.items() if value is not None}
            options = cast(DocumentKeywords, {**model.options.chosen, **given})
        DocumentOptions().changed(options)
        columns = check_columns(text, id, metadata)
        documents = collected(documents)
        if n_documents is None:
            n_documents = length(documents)
        memory = parse_memory(memory)
        fields = check_fields(fields)
        target = Target(path, if_exists, tier, lexical, fields, options)
        held = target.is_there()
        ids: set[str] = set()
        stream, settings, made = None, None, None
        if held and if_exists == "append":
            retriever = cls.open(
                target.folder, model=model, trust_model=trust_model, device=device, dtype=dtype
            )
        else:
            stream = batches(documents, batch_size, ids, columns=columns)
            fresh = load_encoder(DEFAULT_MODEL if model is None else model, device, dtype)
            fresh = fresh.with_options(**options)
            stream = chain([next(stream, [])], stream)  # a bad first batch leaves nothing behind
            settings = target.replacement(fresh)
            new = None if held else target.make(fresh)
            if new is not None or settings is not None:
                opened = CompressedIndex.open(target.folder) if new is None else new
                retriever = cls(opened, partial(_given_encoder, opened, fresh))
                made = None if new is None else new.content_id
            else:  # another process has made it meanwhile
                own = None if model is None else fresh
                retriever = cls.open(
                    target.folder, model=own, trust_model=trust_model, device=device, dtype=dtype
                )
        store = retriever.store
        try:
            if stream is None:
                stream = batches(documents, batch_size, ids, store, columns)
            if settings is None:
                target.check(store.settings)
                store.configure(lexical=lexical, fields=fields)
            # A wrong model shows here, before any work.
            encoder = retriever.encoder if settings is None else fresh
            with shown(on_progress, n_documents) as show:
                Ingest(store, encoder, n_documents, memory, show, settings, made, ids, target.prepare).run(
                    stream
                )
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
    ) -> Retriever:
        """Open an index. The model is loaded when it is first needed.

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

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        store = CompressedIndex.open(path, auto_refresh=auto_refresh)
        own = partial(_own_encoder, store, model, device, dtype, trust_model=trust_model)
        return cls(store, own)

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
        batch_size, memory, on_progress
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
        memory = parse_memory(memory)
        store = CompressedIndex.open(path)
        try:
            count = check_texts(store)
            recorded = _recorded(store)
            if model is None and not recorded:
                raise InvalidInputError(_says_no_model(store.path))
            if model is None:
                today = {**recorded, "revision": None}
                model, _ = recorded_model(store.path, today, trust=trust_model)
            encoder = load_encoder(model, device, dtype)
            with shown(on_progress, count) as show:
                encode_anew(store, encoder, count, memory=memory, batch_size=batch_size, show=show)
        except BaseException:
            store.close()
            raise
        return cls(store, partial(_own_encoder, store, encoder, device, dtype))

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

        from .indexes.repair import repair

        def encode(texts: Sequence[str], settings: Mapping[str, Any]) -> TokenEmbeddings | None:
            try:
                recorded = check_recorded(Path(path), settings.get("encoder"))
                encoder = _encoder_of(Path(path), recorded, model, device, dtype, trust_model=trust_model)
            except (InvalidInputError, CheckpointError, DamagedIndexError, ModelMismatchError):
                if model is not None:
                    raise
                return None
            return encoder.encode_documents(texts)

        return repair(path, dry_run=dry_run, encode=encode)

    @check_keywords("Retriever.tune")
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
        See :meth:`CompressedIndex.tune`.

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
        tell = on_progress or (lambda _: None)
        check_keep(keep)
        refuse_one([] if queries is None else queries)
        encoder = self.encoder
        encoded = None if queries is None else encoder.encode_queries([q for q in queries if q.strip()])
        tuning = self.store.tune(target_recall, k, queries=encoded, sample=sample, on_progress=tell)
        learnt = learn_from(self.store, encoder, encoded, keep=keep, on_progress=tell)
        return replace(tuning, min_score=learnt)

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises
        ------
        ModelMismatchError
            If it is not the one that the index was made with.
        UntrustedModelError
            If the index names another one than :meth:`open` loads without being asked.
        ModelNotFoundError, CheckpointError
            If it can't be loaded.
        """
        try:
            settings = self.store.settings
        except IndexClosedError:
            if self._encoder is None:
                raise
            return self._encoder
        return self._encoder_for(settings)

    def _encoder_for(self, settings: Mapping[str, Any]) -> Encoder:
        recorded: dict[str, Any] = settings.get("encoder") or {}
        with self._loading:
            if self._encoder is None or self._encoder_of != recorded:  # or encoded anew since, or replaced
                encoder = self._encoder
                if encoder is None or encoder.fingerprint != recorded.get("fingerprint"):
                    encoder = self._load()
                if recorded or self._encoder_of:
                    _refuse_other(self.path, recorded, encoder)
                if self._encoder_of:  # and so the encoder reads documents as that said
                    encoder = encoder.reading(DocumentOptions.recorded(recorded))
                self._encoder, self._encoder_of = encoder, recorded
            return self._encoder

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self.store.path

    def close(self) -> None:
        """Close the index; a temporary one is removed. Closing again does nothing."""
        self.store.close()

    def __enter__(self) -> Retriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repr_html_(self) -> str:
        try:
            held, tokens = len(self), self.store.n_tokens
        except IndexClosedError:
            return html_table((), [("index", self.path), ("closed", "")])
        recorded = _recorded(self.store)
        facts = {"index": self.path, "documents": held, "token vectors": tokens, "tier": self.store.tier}
        return html_table((), [*facts.items(), ("model", recorded.get("name", "not recorded"))])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.store, self._load)

    def __copy__(self) -> Retriever:
        copied = type(self)(*copy.deepcopy((self.store, self._load)))
        copied._encoder, copied._encoder_of = self._encoder, self._encoder_of
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Retriever:
        return copy.copy(self)

    def __repr__(self) -> str:
        try:
            held = f"{len(self)} documents"
        except IndexClosedError:
            held = "closed"
        return f"Retriever({str(self.path)!r}, {held})"


def _recorded(store: CompressedIndex) -> dict[str, Any]:
    """What an index says of the encoder that made its vectors."""
    return check_recorded(store.path, store.settings.get("encoder"))


def _refuse_other(path: Path, recorded: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse an encoder for an index that was overwritten, or put in the place of the one that was opened."""
    if recorded.get("fingerprint") != encoder.fingerprint:
        other = _version(recorded) if recorded else "a model that it doesn't name"
        raise ModelMismatchError(
            f"{path} holds another index by now, made with {other}, and this is "
            f"{_version(encoder.identity)}: open it again"
        )


def _own_encoder(
    store: CompressedIndex,
    model: str | Path | Encoder | None,
    device: str,
    dtype: Precision,
    *,
    trust_model: bool = False,
) -> Encoder:
    """The encoder that an open index was made with."""
    return _encoder_of(store.path, _recorded(store), model, device, dtype, trust_model=trust_model)


def _given_encoder(store: CompressedIndex, encoder: Encoder) -> Encoder:
    """The encoder that made an index, unless the index was made anew since."""
    same = _recorded(store) == dict(encoder.identity)
    return encoder if same else _own_encoder(store, encoder, "auto", "auto")


def _encoder_of(
    path: Path,
    recorded: Mapping[str, Any],
    model: str | Path | Encoder | None,
    device: str,
    dtype: Precision,
    *,
    trust_model: bool = False,
) -> Encoder:
    """The encoder that an index was made with, which its settings tell."""
    options = recorded_options(path, recorded)
    if model is not None:
        encoder = load_encoder(model, device, dtype)
    elif recorded:
        name, revision = recorded_model(path, recorded, trust=trust_model)
        encoder = load_encoder(name, device, dtype, revision)
    else:
        raise InvalidInputError(_says_no_model(path))
    if recorded and encoder.fingerprint != recorded["fingerprint"]:
        again = remedy(f"Retriever.reindex({str(path)!r})", f"lfm2-retrieve reindex {shlex.quote(str(path))}")
        place = remedy("model= names", "--model names")
        raise ModelMismatchError(
            f"{path} was made with {_version(recorded)}, and this is {_version(encoder.identity)}: {again} "
            f"encodes its documents anew with a model of today, or {place} the folder of the former"
        )
    return encoder.reading(options) if recorded else encoder


def _version(identity: Mapping[str, Any]) -> str:
    """Which model, and which version of it: what its makers call that, its commit, and its fingerprint."""
    version, revision = identity.get("version"), identity.get("revision")
    named = f"{identity['name']} {version}" if version else str(identity["name"])
    commit = f"revision {revision}, " if revision else ""
    return f"{named} ({commit}fingerprint {identity['fingerprint']})"


def _says_no_model(path: Path) -> str:
    return f"{path} does not say which model made its vectors: give {remedy('model=', '--model')}"
