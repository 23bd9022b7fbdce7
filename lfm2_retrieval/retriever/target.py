"""The index that documents shall go into: made, added to or overwritten, whatever others do meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from ..documents import FileDocument, Passages
from ..encoder import DocumentKeywords, DocumentOptions, Encoder
from ..errors import IndexExistsError, InvalidInputError, remedy
from ..indexes import Index, Tier, Writer, is_index, is_vacant
from ..records import Draft
from .recorded import check_recorded, recorded_options
from .splitting import PassagesChoice, check_passages, recorded_passages, to_setting

__all__ = ["IfExists", "Target"]

IfExists = Literal["error", "append", "overwrite"]


@dataclass(frozen=True)
class Target:
    """Where documents shall go, and how the index is to be; see :meth:`Retriever.index`."""

    path: str | Path | None
    if_exists: IfExists
    tier: Tier | str | None
    lexical: bool | None
    fields: Sequence[str]
    options: DocumentKeywords
    passages: PassagesChoice = None

    @classmethod
    def of(
        cls,
        path: str | Path | None,
        *,
        if_exists: IfExists,
        tier: Tier | str | None,
        lexical: bool | None,
        fields: Sequence[str],
        options: DocumentKeywords,
        model: object,
        passages: PassagesChoice = None,
    ) -> Target:
        """A target, checked: its options are those given, and else an encoder's own where one is given.

        Raises
        ------
        InvalidInputError
            If an argument can't be used.
        """
        if if_exists not in ("error", "append", "overwrite"):
            raise InvalidInputError(f"if_exists must be 'error', 'append' or 'overwrite', not {if_exists!r}")
        if tier is not None and tier not in set(Tier):
            raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {tier!r}")
        if isinstance(model, Encoder):
            given = {name: value for name, value in options.items() if value is not None}
            options = cast(DocumentKeywords, {**model.options.chosen, **given})
        DocumentOptions().changed(options)
        passages = check_passages(passages, options.get("long_documents"))
        return cls(path, if_exists, tier, lexical, fields, options, passages)

    def settled(self, documents: Sequence[Draft]) -> Target:
        """For an index that is made: whether documents are split, going by the first of them.

        Those from files are, unless long ones are to be read in another way.
        """
        if self.passages not in (None, "auto"):
            return self
        whole = self.options.get("long_documents") in (None, "truncate")
        files = whole and any(isinstance(draft.document, FileDocument) for draft in documents)
        return replace(self, passages=Passages() if files else "none")

    def like(self, settings: Mapping[str, Any]) -> Target:
        """For an index that is there: documents are split as they were, unless it is said how."""
        if self.passages not in (None, "auto"):
            return self
        return replace(self, passages=recorded_passages(settings) or "none")

    @property
    def folder(self) -> Path:
        """That of the index.

        Raises
        ------
        InvalidInputError
            If it is to be a temporary one.
        """
        if self.path is None:
            raise InvalidInputError("a temporary index has no path")
        return Path(self.path).absolute()

    def is_there(self) -> bool:
        """Whether there is an index to add to or to replace; refuses what may not be touched.

        Raises
        ------
        IndexExistsError
            If there is something else, or an index, where ``if_exists`` is ``"error"``.
        """
        if self.path is None or is_vacant(self.folder):
            return False
        if not is_index(self.folder):
            raise IndexExistsError(
                f"{self.folder} holds something that is not an index; choose another folder"
            )
        if self.if_exists == "error":
            option, append, overwrite = remedy(
                ("if_exists", "'append'", "'overwrite'"), ("--if-exists", "append", "overwrite")
            )
            raise IndexExistsError(
                f"{self.folder} already holds an index; {option} decides: {append} adds to it, {overwrite} "
                "replaces it"
            )
        return True

    def make(self, encoder: Encoder) -> Index | None:
        """A new index; None if another process or thread has made one meanwhile that may be used.

        Raises
        ------
        IndexExistsError
            If it may not.
        """
        try:
            return Index.create(
                self.path,
                encoder.dim,
                settings={"encoder": dict(encoder.identity)},
                tier=self.tier or Tier.BALANCED,
                lexical=self.lexical is not False,
                fields=self.fields,
                passages=self._passages_setting,
            )
        except IndexExistsError:
            if not self.is_there():
                raise
            return None

    def replacement(self, encoder: Encoder) -> dict[str, Any] | None:
        """The settings in the place of those of an index that is overwritten; None if none is to be."""
        if self.if_exists != "overwrite":
            return None
        settings = {"dim": encoder.dim, "encoder": dict(encoder.identity), "fields": self.fields}
        settings |= {} if self.tier is None else {"tier": str(self.tier)}
        settings |= {} if self._passages_setting is None else {"passages": self._passages_setting}
        return settings | ({} if self.lexical is None else {"lexical": self.lexical})

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse to append to an index with these settings in another way than it was made.

        Raises
        ------
        InvalidInputError
            Naming what differs.
        """
        place = Path("the index" if self.path is None else self.path)
        recorded = check_recorded(place, settings.get("encoder"))
        held = {"tier": str(settings["tier"]), **asdict(recorded_options(place, recorded))}
        for name, value in {"tier": self.tier, **self.options}.items():
            if value is not None and value != held[name]:
                raise InvalidInputError(
                    f"{self.path} was made with {name}={held[name]!r}: leave "
                    f"{remedy(f'{name}=', '--' + name.replace('_', '-'))} out to append to it"
                )
        made = recorded_passages(settings)
        if self.passages not in (None, "auto") and (made or "none") != self.passages:
            raise InvalidInputError(
                f"{self.path} was made with passages={made or 'none'!r}: leave "
                f"{remedy('passages=', '--passages')} out to append to it"
            )

    @property
    def _passages_setting(self) -> dict[str, Any] | None:
        return to_setting(self.passages if isinstance(self.passages, Passages) else None)

    def prepare(self, writer: Writer) -> None:
        """Ready a writer to add to what is there, or refuse: it may have been overwritten meanwhile."""
        self.check(writer.settings)
        writer.configure(lexical=self.lexical, fields=self.fields)
