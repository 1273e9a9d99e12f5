"""Lines on a drawing: readable, in their room, in a font that has the letters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data import lettering
from resnetkit.data.lettering import NAME, QUIET, TEXT, Pen, choose_font, make_readable


@pytest.fixture(scope="module")
def pen():
    return Pen(["Ångström", "кот"])


@given(st.text(alphabet=st.characters(), max_size=40))
@settings(deadline=None, max_examples=50)
def test_whatever_a_file_is_called_becomes_one_printable_line(text):
    assert make_readable(text).isprintable()


def test_only_what_cannot_be_shown_is_escaped():
    assert make_readable("кот №7 'a'") == "кот №7 'a'"
    assert make_readable("a\nb\u202e\udcff") == r"a\nb\u202e\udcff"
    assert make_readable("猫x", missing={"猫"}) == r"\u732bx"


@given(st.text(alphabet="abcWiл \n", max_size=60), st.integers(10, 300))
@settings(deadline=None, max_examples=50)
def test_a_line_fits_its_room_and_keeps_the_end_that_matters(text, room):
    pen = Pen([text])
    whole = make_readable(text)
    for style, kept in ((TEXT, whole.startswith), (NAME, whole.endswith)):
        line = pen.fit(text, style, room)
        assert line == whole or "…" in line
        assert pen.measure(line, style) <= max(room + 1, pen.measure("…W", style))
        assert kept(line.strip("…"))


def test_even_an_endless_name_is_shortened(pen):
    assert len(pen.fit("x" * 100_000, TEXT, 100)) < 30


def test_small_print_is_broken_between_words(pen):
    text = "one two three four five six seven eight nine ten"
    lines = pen.wrap(text, QUIET, 90)
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert all(pen.measure(line, QUIET) <= 90 for line in lines)


def test_a_line_is_drawn_inside_its_room_and_an_ending_always(pen):
    canvas = Image.new("RGB", (200, 40), (255, 255, 255))
    pen.take(canvas)
    pen.write((10, 10), "m" * 50, TEXT, 120, ending=" 0.71")
    dark = np.argwhere(np.asarray(canvas).min(axis=2) < 128)
    assert dark[:, 1].min() >= 10
    assert 120 <= dark[:, 1].max() <= 131


@pytest.mark.parametrize(("scale", "size"), [(3, 12), (0.5, 2)])
def test_pictures_are_magnified_in_whole_pixels_or_reduced(pen, scale, size):
    canvas = Image.new("RGB", (40, 40))
    pen.take(canvas)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4), dtype=np.uint8)
    pen.paste(pixels, (5, 5), scale)
    pasted = np.asarray(canvas)[5 : 5 + size, 5 : 5 + size]
    if scale > 1:
        np.testing.assert_array_equal(pasted[:, :, 0], pixels[0].repeat(3, 0).repeat(3, 1))
    assert (np.asarray(canvas)[5 + size + 1 :] == 0).all()


def test_the_font_that_comes_with_matplotlib_is_enough_for_most(monkeypatch):
    monkeypatch.setattr(lettering, "_installed_fonts", lambda: pytest.fail("not to be searched"))
    path, lacking = choose_font(set("Käse кот γάτα 0.7\n"))
    assert path.name == "DejaVuSans.ttf"
    assert lacking == set()


def test_other_letters_are_looked_for_in_the_installed_fonts(monkeypatch, tmp_path):
    own, _ = choose_font({"a"})
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr(lettering, "_installed_fonts", lambda: [str(broken), str(own)])
    path, lacking = choose_font({"猫", "a"})
    assert (path, lacking) == (own, {"猫"})
