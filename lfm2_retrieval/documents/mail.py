"""The web page in a mail that has no plain text: the parser would run its blocks into one another."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

__all__ = ["page_of"]


def page_of(data: bytes) -> bytes | None:
    """The HTML that a mail consists of, in UTF-8; None where it has plain text, or neither."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        body = message.get_body(("plain", "html")) if isinstance(message, EmailMessage) else None
        if body is None or body.get_content_type() != "text/html":
            return None
        content = body.get_content()
    except (
        LookupError,
        ValueError,
        AttributeError,
        TypeError,
        KeyError,
        IndexError,
    ):  # as of malformed mails
        return None
    return content.encode("utf-8", "replace") if isinstance(content, str) and content.strip() else None
