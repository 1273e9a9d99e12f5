"""Text and pictures on a drawing: lines shortened to their room, in a font that has the letters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

FRAME = (214, 214, 210)
LONGEST = 200  # letters of a line looked at
FONTS_TRIED = 200  # of those installed, when a name needs letters that ours lacks
LATIN = {chr(code) for code in range(33, 127)} | {"…"}


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a line is written: size in pixels, colour, and which end stays when it is too long."""

    size: int
    color: tuple[int, int, int]
    keeps_end: bool = False

    @property
    def line(self) -> int:
        """Height of a line in pixels."""
        return round(1.35 * self.size)


TITLE = Style(size=20, color=(24, 26, 30))
TEXT = Style(size=14, color=(24, 26, 30))
QUIET = Style(size=12, color=(72, 76, 84))
FAINT = Style(size=12, color=(112, 116, 124))
NAME = Style(size=12, color=(112, 116, 124), keeps_end=True)  # of a file: its end tells it apart


class Pen:
    """Writes and pastes on the canvas it took, in one font that has the letters of `texts`."""

    def __init__(self, texts: Iterable[str]) -> None:
        path, self._missing = choose_font({letter for text in texts for letter in text})
        sizes = {style.size for style in (TITLE, TEXT, QUIET, FAINT, NAME)}
        self._fonts = {size: ImageFont.truetype(str(path), size) for size in sizes}

    def take(self, canvas: Image.Image) -> None:
        """Draw on `canvas` (mode RGB) from now on."""
        self._canvas, self._draw = canvas, ImageDraw.Draw(canvas)

    def write(
        self, place: tuple[int, int], text: str, style: Style, room: int, ending: str = ""
    ) -> None:
        """One line of at most `room` pixels: `text`, shortened where it must be, then `ending`."""
        line = self.fit(text, style, room - self._length(ending, style)) + ending
        self._draw.text(place, line, fill=style.color, font=self._fonts[style.size])

    def fit(self, text: str, style: Style, room: float) -> str:
        """`text` made readable and shortened to at most `room` pixels."""
        part = text[-LONGEST:] if style.keeps_end else text[:LONGEST]
        shown = whole = make_readable(part, self._missing)
        for kept in range(len(whole) - 1, 0, -1):
            if self._length(shown, style) <= room:
                break
            shown = "…" + whole[-kept:] if style.keeps_end else whole[:kept].rstrip() + "…"
        return shown

    def wrap(self, text: str, style: Style, room: int) -> list[str]:
        """`text` in lines of at most `room` pixels, broken between words."""
        lines = [""]
        for word in make_readable(text, self._missing).split(" "):
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self._length(longer, style) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def paste(self, image: np.ndarray, place: tuple[int, int], scale: float) -> None:
        """A picture uint8 [C,H,W] with a thin frame; magnified pixels stay sharp squares."""
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        rule = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        self._canvas.paste(picture.resize(size, rule).convert("RGB"), place)
        x, y = place
        self._draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=FRAME)

    def measure(self, text: str, style: Style) -> int:
        """Pixels that `text`, made readable, is long."""
        return math.ceil(self._length(make_readable(text[:LONGEST], self._missing), style))

    def _length(self, text: str, style: Style) -> float:
        return self._fonts[style.size].getlength(text)


def make_readable(text: str, missing: Iterable[str] = ()) -> str:
    """`text` in one line, with control characters and those in `missing` as escapes."""
    absent = set(missing)
    return "".join(
        letter
        if letter.isprintable() and letter not in absent
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def choose_font(letters: set[str]) -> tuple[Path, set[str]]:
    """A font file for these letters, and those that it lacks.

    DejaVu Sans (it comes with matplotlib) where it has them all, else the installed font that has
    most of them and the Latin ones.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    wanted = {letter for letter in letters if letter.isprintable()}
    best = own, _lacking(FT2Font(str(own)), wanted)
    for path in _installed_fonts() if best[1] else []:
        try:
            font = FT2Font(path)
        except (RuntimeError, OSError):  # damaged, or of an unknown kind: another will do
            continue
        lacking = _lacking(font, wanted)
        if len(lacking) < len(best[1]) and font.scalable and not _lacking(font, LATIN):
            best = Path(path), lacking
    return best


def _installed_fonts() -> list[str]:
    from matplotlib.font_manager import findSystemFonts

    return sorted(findSystemFonts())[:FONTS_TRIED]


def _lacking(font: FT2Font, letters: set[str]) -> set[str]:
    return {letter for letter in letters if not font.get_char_index(ord(letter))}
