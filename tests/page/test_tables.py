import re

import numpy as np
import pytest
from markup import Markup, pixels_of

from resnetkit.page.blocks import ROWS_SHOWN, Column, Estimate, Heat, Picture, Table
from resnetkit.page.pictures import PIXEL_ART, SIDE, write_image
from resnetkit.page.tables import LEVELS, write_heat, write_table

COLUMNS = (
    Column(title="Name"),
    Column(title="Share", kind="percent"),
    Column(title="", kind="bar"),
)


def table(rows, **changes):
    cells = [[name, share, share] for name, share in rows]
    return write_table(Table(columns=COLUMNS, rows=cells, name="things", **changes))


def test_cells_carry_what_they_are_sorted_by():
    html = table([("<b>", Estimate(value=0.25, interval=(0.2, 0.3))), ("x", None)])
    Markup(html)
    assert '<td>&lt;b&gt;</td><td class="n" data-v="0.25">25.0<small>20.0 to 30.0</small>' in html
    assert '<td class="n" data-v="">–</td>' in html
    assert html.count("<svg") == 1  # nothing is drawn of what is undefined
    assert 'class="sortable"' in html


def test_a_single_row_is_not_sorted():
    assert "sortable" not in table([("x", 0.5)])


def test_long_tables_fold_after_the_first_rows():
    rows = [(f"n{k}", k / 100) for k in range(ROWS_SHOWN + 1)]
    assert "details" not in table(rows[:-1])
    html = table(rows)
    assert 'class="sortable folded"' in html
    assert "Show all 21 things" in html
    assert html.index("n20") < html.index("<details")  # all rows are in one table


def test_totals_stay_below():
    html = table([("x", 0.5), ("y", 0.6)], totals=[["mean", 0.55, ""]])
    assert re.search(r"</tbody><tfoot><tr><td>mean</td>.*</tfoot>", html)


def test_rows_of_another_length_are_our_mistake():
    with pytest.raises(AssertionError):
        write_table(Table(columns=COLUMNS, rows=[["x", 0.5]], name="things"))


def test_pictures_in_a_cell_have_words():
    image = np.full((3, 4, 4), 7, np.uint8)
    cell = [Picture(images=[image], alt="a cat & a dog")]
    html = write_table(
        Table(columns=[Column(title="p", kind="pictures")], rows=[[cell], [[]]], name="rows")
    )
    page = Markup(html)
    assert page.values("alt") == ["a cat & a dog"]
    np.testing.assert_array_equal(pixels_of(page.values("src")[0])[..., 0], image[0])


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 7, 5), (7, 5, 3)])
def test_small_pictures_keep_every_bit(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    html = write_image(image, "x")
    found = pixels_of(Markup(html).values("src")[0])
    expected = image if shape[2] == 3 else image[0] if shape[0] == 1 else image.transpose(1, 2, 0)
    np.testing.assert_array_equal(found, expected)
    assert 'class="small"' in html


def test_large_pictures_are_made_small():
    html = write_image(np.zeros((3, 100, 2 * PIXEL_ART + 200), np.uint8), "x")
    assert max(pixels_of(Markup(html).values("src")[0]).shape[:2]) == SIDE
    assert "small" not in html


def heat(values, **changes):
    names = [f"n{k}" for k in range(len(values))]
    fields = {"row_names": names, "column_names": names, "values": values, "corner": "c"}
    return write_heat(Heat(**(fields | {"shades": values / values.max()} | changes)))


def test_colour_grows_with_the_shade():
    html = heat(np.array([[0.0, 0.01], [0.5, 1.0]]), digits=1)
    assert re.findall(r"<td(?: class=\"(\w+)\")?", html) == ["", "right1", "right5", "right10"]
    assert "50.0</td>" in html
    assert LEVELS == 10  # page.css has a rule for each


def test_of_a_confusion_matrix_only_what_happened_is_written():
    html = heat(np.array([[5, 2], [0, 9]]), kind="count", diagonal=True)
    cells = re.findall(r'<td class="(right|wrong)\d+"[^>]*>(\d+)</td>', html)
    assert cells == [("right", "5"), ("wrong", "2"), ("right", "9")]
    assert "n0 → n1: 2 (28.6\N{NO-BREAK SPACE}% of the row)" in Markup(html).values("title")
    assert "<td></td>" in html


def test_long_names_stand_upright_and_are_cut():
    html = heat(np.ones((2, 2)), column_names=["<" + "a" * 40, "b"])
    assert "upright" in html
    assert "a" * 20 + "…" in html
    assert "a" * 22 not in html.replace("title=", "").split("<tbody>")[0]
