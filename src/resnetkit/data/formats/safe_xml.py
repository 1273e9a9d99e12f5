"""Reading small XML files that anyone may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from resnetkit.types import UserError

LARGEST_BYTES = 64 << 20


def parse_xml(path: Path) -> Element:
    """The root element of an XML file.

    A file that declares entities is refused: a kilobyte of them can expand to gigabytes ("billion
    laughs") or name files of this computer. Raises `UserError`, with the line, for broken XML.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise UserError(
            f"{path}: this annotation has more than {LARGEST_BYTES >> 20} MiB; needed is one small "
            "XML file for each picture."
        )
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except _EntityDeclared as declared:
        raise UserError(
            f"{path}: it declares the XML entity {declared.args[0]!r}, which an annotation never "
            "needs and an attack may; write the text itself."
        ) from None
    except expat.ExpatError as error:
        raise UserError(
            f"{path}, line {error.lineno}: broken XML ({expat.ErrorString(error.code)}); correct "
            "or remove it."
        ) from None
    except (ValueError, LookupError) as error:  # of encodings that Python does not know
        raise UserError(f"{path}: broken XML ({error}); save it in UTF-8.") from None


class _EntityDeclared(Exception):  # noqa: N818 - ends the parsing, is no error of the program
    pass


def _refuse_entity(name: str, *_: Any) -> None:
    raise _EntityDeclared(name)
