"""Token vectors on disk, and search in them. The on-disk format is described in ``indexes/FORMAT.md``."""

from .analysis.words import query_words, terms
from .catalogue.location import MANIFEST, is_collection, is_index, is_vacant
from .catalogue.lock import WriterLock
from .catalogue.rows import Entry, check_ids, encode_metadata, known_ids, unknown_ids
from .catalogue.schema import FORMAT
from .catalogue.settings import CONTENT, RESERVED
from .catalogue.sources import StoredDocument, StoredPassage, passage_id
from .commits.documents import HeldDocument, OpenDocument
from .commits.writer import OnConflict, Writer
from .compaction.policy import DriftWarning, Estimate, estimate_size, parse_memory
from .filters.fields import check_fields
from .filters.unknown import warn_of
from .filters.where import Where, parse_where
from .index import Index
from .quantization.codec import Tier
from .search.dense import Found
from .search.fusion import find
from .search.grouping import Chosen, Search, choose_all
from .search.min_score import MinScore, learn_min_score, thresholds
from .search.word_statistics import WordStatistics
from .segments.files import refuse_inside
from .shard import Asked, CommitGoneError, Listed, Shard
from .spool import Spool, Waiting, read_refusals, sync_lock, write_refusals
from .tuning.recall import Recall, in_words
from .tuning.tune import Tuning
from .upkeep import RunUpkeep

__all__ = [
    "CONTENT",
    "FORMAT",
    "MANIFEST",
    "RESERVED",
    "Asked",
    "Chosen",
    "CommitGoneError",
    "DriftWarning",
    "Entry",
    "Estimate",
    "Found",
    "HeldDocument",
    "Index",
    "Listed",
    "MinScore",
    "OnConflict",
    "OpenDocument",
    "Recall",
    "RunUpkeep",
    "Search",
    "Shard",
    "Spool",
    "StoredDocument",
    "StoredPassage",
    "Tier",
    "Tuning",
    "Waiting",
    "Where",
    "WordStatistics",
    "Writer",
    "WriterLock",
    "check_fields",
    "check_ids",
    "choose_all",
    "encode_metadata",
    "estimate_size",
    "find",
    "in_words",
    "is_collection",
    "is_index",
    "is_vacant",
    "known_ids",
    "learn_min_score",
    "parse_memory",
    "parse_where",
    "passage_id",
    "query_words",
    "read_refusals",
    "refuse_inside",
    "sync_lock",
    "terms",
    "thresholds",
    "unknown_ids",
    "warn_of",
    "write_refusals",
]
