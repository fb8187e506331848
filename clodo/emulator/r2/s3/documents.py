"""S3's XML, written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from clodo.emulator.r2.errors import MALFORMED_XML, R2Refused

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

#: An element's content: text, or elements in order; an element without content is left out.
Content: TypeAlias = "str | int | bool | Iterable[Element] | None"
Element: TypeAlias = "tuple[str, Content]"

#: What XML 1.0 can't say even as a character reference.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def document(name: str, content: Content, *, namespace: str | None = NAMESPACE) -> bytes:
    """Return an XML document with one root element."""
    opening = name if namespace is None else f'{name} xmlns="{namespace}"'
    return f'<?xml version="1.0" encoding="UTF-8"?><{opening}>{_inner(content)}</{name}>'.encode("utf-8", "replace")


def _inner(content: Content) -> str:
    match content:
        case None:
            return ""
        case bool():
            return "true" if content else "false"
        case str():
            return escape(_UNSAYABLE.sub("\ufffd", content), {"\r": "&#13;"})
        case int():
            return str(content)
        case _:
            # Attributes may stand behind a name.
            return "".join(
                f"<{name}>{_inner(inner)}</{name.partition(' ')[0]}>" for name, inner in content if inner is not None
            )


def parse(body: bytes, root: str) -> ElementTree.Element:
    """
    Return the root of a document, its namespaces taken away.

    Raises:
        R2Refused: 400, MalformedXML: it is none, it has a DTD, or another root.
    """
    if b"<!" in body:
        # No DTD, so no entities that blow up.
        raise R2Refused(MALFORMED_XML)
    try:
        found = ElementTree.fromstring(body)  # noqa: S314 -- without a DTD there is nothing to expand
    except ElementTree.ParseError as error:
        raise R2Refused(MALFORMED_XML) from error
    for element in found.iter():
        element.tag = element.tag.rpartition("}")[2]
    if found.tag != root:
        raise R2Refused(MALFORMED_XML)
    return found


def text_of(element: ElementTree.Element, name: str) -> str | None:
    """Return the text of a child element, None without one."""
    child = element.find(name)
    return None if child is None else child.text or ""
