"""Beyond one machine: a collection in shards, each an ordinary index; built and served on Ray.

A document goes to a shard by a hash of its id. A manifest names the shards, their codec, their model and the
commit of each. Ray is imported where it is used; shards of this machine need none of it.
"""

from .building import build
from .manifest import MANIFEST, Manifest, ShardEntry, is_manifest
from .resharding import reshard
from .retriever import ShardedRetriever
from .routing import shard_of

__all__ = [
    "MANIFEST",
    "Manifest",
    "ShardEntry",
    "ShardedRetriever",
    "build",
    "is_manifest",
    "reshard",
    "shard_of",
]
