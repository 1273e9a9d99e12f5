"""Tar archives: all that tar programs write is found, all that could harm is refused."""

import contextlib
import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.formats.tar_archive import read_members
from resnetkit.types import UserError

FILES = {
    "a.jpg": b"first",
    "deep/er/b.jpg": b"x" * 512,
    "empty.jpg": b"",
    f"{'n' * 90}/{'m' * 90}.jpg": b"prefix field",
    f"{'long/' * 60}name.jpg": b"long name",
    '猫 it\'s\n"x".jpg': b"y" * 513,
}


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def write(path, members, **options):
    with tarfile.open(path, options.pop("mode", "w"), **options) as tar:
        for info, content in members:
            tar.addfile(info, content)
    return path


def contents(path):
    archive = path.read_bytes()
    return {name: archive[at : at + size] for name, at, size in read_members(path)}


def refused(path, message):
    with pytest.raises(UserError, match=message):
        list(read_members(path))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_archive(tmp_path, form):
    files = {name: text for name, text in FILES.items() if len(name) < 250 or form}
    members = [member("folder", type=tarfile.DIRTYPE)]
    members += [member(name, text, mtime=1.5) for name, text in files.items()]
    assert contents(write(tmp_path / "a.tar", members, format=form)) == files


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar program")
@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_archives_of_the_tar_program(tmp_path, form):
    files = {name: text for name, text in FILES.items() if len(name) < 150}
    for name, text in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(text)
    command = ["tar", f"--format={form}", "-cf", tmp_path / "a.tar", "-C", tmp_path / "in", "."]
    subprocess.run(command, check=True)
    assert contents(tmp_path / "a.tar") == files


def test_sizes_in_base_256(tmp_path):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"abc")])
    block = bytearray(path.read_bytes())
    block[124:136] = b"\x80" + (3).to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
    path.write_bytes(block)
    assert contents(path) == {"a.jpg": b"abc"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
            "is a symbolic link; needed are plain",
        ),
        ({"type": tarfile.LNKTYPE, "linkname": "a.jpg"}, "is a hard link"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "is a sparse file"),
        ({"type": tarfile.CHRTYPE}, "is a device or an unknown kind"),
        ({"type": tarfile.FIFOTYPE}, "is a device or an unknown kind"),
        ({"pax_headers": {"GNU.sparse.major": "1"}}, "is a sparse file"),
        ({"name": "../../outside.jpg"}, "would lie outside any folder"),
        ({"name": "a/../../b.jpg"}, "would lie outside any folder"),
        ({"name": "/etc/passwd.jpg"}, "would lie outside any folder"),
    ],
)
def test_what_no_set_of_images_needs(tmp_path, fields, message):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"x"), member(**{"name": "b.jpg"} | fields)])
    refused(path, f"a.tar: the member .*{message}")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mode", "name"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_compressed_archives(tmp_path, mode, name):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"x")], mode=mode)
    refused(path, rf"a.tar: this archive is compressed \({name}\).* decompress it to a .tar")


def test_archives_that_are_cut(tmp_path):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"x" * 600), member("b.jpg", b"y" * 600)])
    whole = path.read_bytes()
    for length in (600, 1536, 1700, 2048, 2600, 3072):  # in contents, in headers, between members
        path.write_bytes(whole[:length])
        refused(
            path, rf"a.tar: the archive is cut off: it ends at byte {length}, within a member or"
        )
    path.write_bytes(whole[: 3072 + 512])
    assert list(contents(path)) == ["a.jpg", "b.jpg"]


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.tar"
    for content in (b"", b"\xff\xd8\xff\xe0 a picture", b"text " * 400):
        path.write_bytes(content)
        refused(path, "a.tar: not a tar archive; copy or download it again")


def test_damage_is_found(tmp_path):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"x"), member("b.jpg", b"y")])
    content = bytearray(path.read_bytes())
    content[1024] ^= 1
    path.write_bytes(content)
    refused(path, "a.tar: damaged at byte 1024")


def test_archives_joined_by_cat(tmp_path):
    path = write(tmp_path / "a.tar", [member("a.jpg", b"x")])
    path.write_bytes(path.read_bytes() * 2)
    refused(path, "there is more behind the archive's end at byte 1024; archives are joined with")


@pytest.mark.parametrize(
    "records", [b"9 path=a.jpg\n", b"0 path=a\n", b"path=a", b"7 pa\n", b"99999999 path=a\n"]
)
def test_damaged_pax_headers(tmp_path, records):
    path = write(tmp_path / "a.tar", [member("x", records, type=tarfile.XHDTYPE), member("a.jpg")])
    with contextlib.suppress(UserError):
        list(read_members(path))
    if records[:1] != b"9":
        refused(path, "a.tar: a damaged pax header")


def test_a_header_that_promises_gigabytes_of_names(tmp_path):
    path = write(tmp_path / "a.tar", [member("x", bytes(2 << 20), type=tarfile.GNUTYPE_LONGNAME)])
    refused(path, "a header of 2097152 bytes; images have no such names")


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_damage_is_found_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    path = write(
        folder / "a.tar",
        [member(name, text) for name, text in FILES.items()],
        format=data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])),
    )
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        for _, offset, size in read_members(path):
            assert offset + size <= len(content)
    assert list(folder.iterdir()) == [path]
