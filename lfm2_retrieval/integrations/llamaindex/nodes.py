"""LlamaIndex's nodes as documents, and back without a loss.

A node is stored as LlamaIndex's own stores do: its metadata, and beside them the whole node as JSON, with its
relationships. What is encoded is what LlamaIndex would embed, the metadata in front included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from ...datatypes import Document, Hit
from ...errors import InvalidInputError, InvalidTypeError
from ...json_values import plain

__all__ = ["NODE_ID", "from_node", "to_node"]

NODE_ID = "_node_id"
"""A node's id among the metadata, for filters: metadata may have an ``id`` of their own."""
_CONTENT = "_node_content"
_IS_TEXT = "_text_is_content"
"""Whether the text that was encoded is the node's own, and so isn't stored twice."""


def from_node(node: BaseNode) -> Document:
    """A node as it is stored.

    Raises
    ------
    InvalidInputError
        If it is none, or its metadata are no JSON.
    """
    if not isinstance(node, BaseNode):
        raise InvalidTypeError(
            f"a {type(node).__name__} is no node of LlamaIndex: give TextNode(text=…), or Documents"
        )
    try:
        metadata = plain(node.metadata, keep_none=True)
    except InvalidInputError as error:
        raise InvalidInputError(f"the metadata of node {node.node_id!r} are no JSON: {error}") from error
    node = node.model_copy(update={"metadata": metadata})
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    same = text == node.get_content(metadata_mode=MetadataMode.NONE)
    stored = node_to_metadata_dict(node, remove_text=same)
    return Document(node.node_id, text, {**stored, NODE_ID: node.node_id, _IS_TEXT: same})


def to_node(stored: Document | Hit) -> BaseNode:
    """What is stored, as a node; of an index that something else made, a text node."""
    if _CONTENT not in stored.metadata:
        return TextNode(id_=stored.id, text=stored.text or "", metadata=dict(stored.metadata))
    metadata: Mapping[str, Any] = stored.metadata
    text = stored.text if metadata.get(_IS_TEXT) else None
    return metadata_dict_to_node(dict(metadata), text)
