"""Downloads, from file:// addresses: checksum, atomicity, messages."""

import hashlib
import urllib.error
import urllib.request

import pytest

from resnetkit.data.formats.download import cache_folder, fetch
from resnetkit.types import UserError

CONTENT = b"published" * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.bin"
    path.write_bytes(CONTENT)
    return path


def test_a_file_is_downloaded_once(tmp_path, published, capsys):
    target = tmp_path / "cache" / "deep" / "file.bin"
    assert fetch(published.as_uri(), target, MD5) == target
    assert target.read_bytes() == CONTENT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"downloading {published.as_uri()} to {target}" in captured.err
    published.unlink()
    fetch(published.as_uri(), target, MD5)
    assert capsys.readouterr().err == ""
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_another_content_leaves_nothing_behind(tmp_path, published):
    target = tmp_path / "cache" / "file.bin"
    published.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"not the published file.*needed is {MD5}.*try again"):
        fetch(published.as_uri(), target, MD5)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_file_in_the_cache_is_not_used(tmp_path, published):
    target = tmp_path / "file.bin"
    target.write_bytes(b"other")
    with pytest.raises(UserError, match=r"file.bin: not the published file.*Remove it"):
        fetch(published.as_uri(), target, MD5)


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("Name or service not known"), TimeoutError("timed out")]
)
def test_without_a_network_it_says_where_to_put_the_file(tmp_path, monkeypatch, error):
    def urlopen(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    target = tmp_path / "file.bin"
    reason = getattr(error, "reason", None) or str(error)
    message = f"Could not download https://x/y to {target}: {reason}.*put the file there yourself"
    with pytest.raises(UserError, match=message):
        fetch("https://x/y", target, MD5)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("RESNETKIT_DATA", "/somewhere")
    assert str(cache_folder()) == "/somewhere"
    monkeypatch.delenv("RESNETKIT_DATA")
    assert cache_folder().parts[-2:] == (".cache", "resnetkit")
