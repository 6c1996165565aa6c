"""Files that are whole or absent."""

import errno
import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from detailscribe.tools.errors import SettingsError
from detailscribe.tools.files import DiskCache, JsonLines, Store, read_lines


class Note(BaseModel):
    text: str


def test_a_store_refuses_what_leads_out_of_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    for reference in ("../other", "/etc/passwd", "link/other"):
        with pytest.raises(ValueError, match="outside"):
            store.write(reference, b"x")


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".page.html.partial").symlink_to(mine)
    Store(tmp_path).write("page.html", b"page")
    assert mine.read_text() == "mine"


def test_a_torn_last_line_is_cut_off_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n{"b"')
    assert list(read_lines(path)) == [b'{"a": 1}']
    with JsonLines(path) as lines:
        lines.append('{"c": 2}')
    assert list(read_lines(path)) == [b'{"a": 1}', b'{"c": 2}']


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half a line, then no more."""
    path = tmp_path / "lines"
    with JsonLines(path) as lines:
        lines.append("{}")

        class Full:
            def __init__(self, file: object) -> None:
                self.file, self.calls = file, 0

            def fileno(self) -> int:
                return self.file.fileno()

            def truncate(self, size: int) -> int:
                return self.file.truncate(size)

            def close(self) -> None:
                self.file.close()

            def write(self, data: bytes) -> int:
                self.calls += 1
                if self.calls > 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return self.file.write(data[:3])

        monkeypatch.setattr(lines, "_file", Full(lines._file))
        with pytest.raises(OSError, match="space"):
            lines.append('{"long": "line"}')
    assert path.read_bytes() == b"{}\n"


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines"
    with JsonLines(path) as lines:
        file = lines._file

        class Slow:
            def __getattr__(self, name: str) -> object:
                return getattr(file, name)

            def write(self, data: bytes) -> int:
                return file.write(data[:2])

        monkeypatch.setattr(lines, "_file", Slow())
        lines.append('{"long": "line"}')
    assert list(read_lines(path)) == [b'{"long": "line"}']


def test_a_cache_keeps_objects_and_forgives_damage(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", "notes")
    assert cache.get("ab12", Note) is None
    cache.put("ab12", Note(text="hello"))
    assert cache.get("ab12", Note) == Note(text="hello")
    next((tmp_path / "cache").rglob("*.json")).write_text("damaged")
    assert cache.get("ab12", Note) is None


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="notes"):
        DiskCache(tmp_path / "file" / "cache", "notes")
