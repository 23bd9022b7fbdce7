"""LlamaIndex's nodes as documents, and back without a loss.

A node is stored as LlamaIndex's own stores do: its metadata, and beside them the whole node as JSON, with its
relationships. What is encoded is what LlamaIndex would embed, the metadata in front included; where nodes are
split into passages it is their text alone, so that spans are the text's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from ...datatypes import Document, Hit
from ...errors import InvalidInputError, InvalidTypeError
from ...json_values import plain
from ..places import PLACE, place_values, without_place

__all__ = ["NODE_ID", "from_node", "to_node"]

NODE_ID = "_node_id"
"""A node's id among the metadata, for filters: metadata may have an ``id`` of their own."""
_CONTENT = "_node_content"
_IS_TEXT = "_text_is_content"
"""Whether the text that was encoded is the node's own, and so isn't stored twice."""


def from_node(node: BaseNode, *, split: bool = False) -> Document:
    """A node as it is stored.

    Parameters
    ----------
    node
        Any one.
    split
        Whether it is going to be split into passages.

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
        metadata = plain(without_place(node.metadata), keep_none=True)
    except InvalidInputError as error:
        raise InvalidInputError(f"the metadata of node {node.node_id!r} are no JSON: {error}") from error
    node = node.model_copy(update={"metadata": metadata})
    text = node.get_content(metadata_mode=MetadataMode.NONE if split else MetadataMode.EMBED)
    same = text == node.get_content(metadata_mode=MetadataMode.NONE)
    stored = node_to_metadata_dict(node, remove_text=same)
    return Document(node.node_id, text, {**stored, NODE_ID: node.node_id, _IS_TEXT: same})


def to_node(stored: Document | Hit) -> BaseNode:
    """What is stored, as a node; of an index that something else made, a text node.

    A passage is a node of its own, whose source is the document; where it lies is under ``lfm2``, which
    neither models nor embeddings get to see.
    """
    metadata: Mapping[str, Any] = stored.metadata
    place = place_values(stored)
    document = stored.document_id if isinstance(stored, Hit) else metadata.get(NODE_ID, stored.id)
    values: dict[str, Any] = {} if document == stored.id else _of_passage(stored, document)
    if _CONTENT not in metadata:
        held = {**metadata, PLACE: place} if place else dict(metadata)
        values |= {"id_": stored.id, "text": stored.text or "", "metadata": held}
        return TextNode(**values, **_hidden(place))  # checked once: assignments are checked each
    node = metadata_dict_to_node(dict(metadata), stored.text if metadata.get(_IS_TEXT) else None)
    if place:
        node.metadata[PLACE] = place
        node.excluded_embed_metadata_keys.append(PLACE)
        node.excluded_llm_metadata_keys.append(PLACE)
    if values:
        if source := node.relationships.get(NodeRelationship.SOURCE):
            parent = values["relationships"][NodeRelationship.SOURCE]
            values["relationships"] = {NodeRelationship.SOURCE: source, NodeRelationship.PARENT: parent}
        node = node.model_copy(
            update={name: value for name, value in values.items() if name in type(node).model_fields}
        )
    return node


def _of_passage(stored: Document | Hit, document: str) -> dict[str, Any]:
    """What a node has that is a passage of a document."""
    values: dict[str, Any] = {"id_": stored.id}
    values["relationships"] = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    if isinstance(stored, Hit) and stored.span is not None:
        values |= {"start_char_idx": stored.span[0], "end_char_idx": stored.span[1]}
    return values


def _hidden(place: Mapping[str, Any]) -> dict[str, list[str]]:
    """Metadata that models don't get to see."""
    if not place:
        return {}
    return {"excluded_embed_metadata_keys": [PLACE], "excluded_llm_metadata_keys": [PLACE]}
