"""Reads and writes files: atomic writes, crash-safe JSON lines, a disk cache, and checks of foreign files."""

import errno
import hashlib
import io
import json
import logging
import mmap
import os
import secrets
import shutil
import stat
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import OutsideError, SettingsError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats of pictures that are decoded; other decoders are not trusted with foreign files."""
MOST_PIXELS = 2**24
"""Most pixels of a picture that is decoded: 4096 by 4096."""
PREVIEWS = "previews"
"""Folder in a run folder for previews of images that are being drawn, while somebody watches."""
PARTIAL = ".*.partial"
"""Pattern of the names of files that are being written."""

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)


class Store:
    """A run folder with images, latents and records. Every file in it is whole or absent."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, reference: str) -> Path:
        """The path of a reference of an ``ImageRecord``; ``OutsideError`` if it leads outside the folder."""
        path = self.root / reference
        if not leads_inside(path, self.root):
            raise OutsideError(f"{reference!r} leads outside the folder {self.root}: it is neither read nor written")
        return path

    def write(self, reference: str, data: bytes) -> str:
        """Write a file atomically and return its reference."""
        write_whole(self.path(reference), data)
        return reference

    def read(self, reference: str) -> bytes:
        """The bytes of a file; ``FileNotFoundError`` if there is none."""
        return self.path(reference).read_bytes()

    def picture(self, reference: str) -> "Image":
        """The picture in a file, as of ``picture_in``; ``FileNotFoundError`` if there is none."""
        return picture_in(self.read(reference))


def picture_in(data: bytes) -> "Image":
    """The picture in a file's bytes as RGB, on white where it is transparent; ``ValueError`` if it cannot be used."""
    from PIL import Image  # not needed to import the package

    # What decoders raise for damaged files; the warning is an error if the caller's filter says so.
    errors = (OSError, SyntaxError, EOFError, LookupError, TypeError, ValueError, ArithmeticError, struct.error)
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{picture.width} by {picture.height} pixels are more than {MOST_PIXELS}")
            if getattr(picture, "is_animated", False) and picture.format != "MPO":  # of cameras, with several views
                raise ValueError("it is animated, and a still picture is needed")
            if picture.mode.startswith("I;16"):
                return picture.point(lambda value: value / 256).convert("RGB")
            if not picture.has_transparency_data:
                return picture.convert("RGB")
            transparent = picture.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), transparent).convert("RGB")
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"what came is no picture of {', '.join(FORMATS)}") from error
    except (*errors, *bombs) as error:
        raise ValueError(f"what came is no picture that can be used: {' '.join(str(error).split())}") from error


def picture_file(picture: "Image", form: str = "PNG", **how: Any) -> bytes:
    """The bytes of a picture's file in one of ``FORMATS``; ``how`` are Pillow's options for saving it."""
    file = io.BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


def leads_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder when all links are followed; False for an invalid path or a circle of links."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def require_own(folder: Path, *, deep: bool = True) -> None:
    """Refuse a folder, perhaps a stranger's, with links that lead outside it, pipes or devices; with ``deep``, also in
    its subfolders."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # another process has removed it
                continue
            if stat.S_ISLNK(mode) and not leads_inside(path, folder):
                raise OutsideError(f"{path} is a link that leads outside the folder {folder}: remove it first")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise OutsideError(f"{path} is neither a file nor a folder: remove it first")
        if not deep:
            return


def set_aside(path: Path, problem: object) -> None:
    """Rename a damaged file or folder, if it exists, and log a warning that it is made anew."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(2)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        _log.warning("%s; it is made anew", problem)
    except OSError as error:
        raise SettingsError(f"{problem}; it cannot be renamed, to be made anew: {error.strerror}") from error
    else:
        _log.warning("%s; it is made anew, and what was there is %s now", problem, aside)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: under another name first, which is then renamed."""
    partial = _partial(path)
    try:
        with partial.open("xb") as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    """A new name beside a file, in its folder, which is created if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path) and not os.path.isfile(path):  # a device or a pipe would be replaced
        raise FileExistsError(errno.EEXIST, "it is there, and no file", str(path))
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def require_writable(*paths: Path) -> None:
    """Refuse files that could not be written, before any work is done for them."""
    for path in paths:
        absent = [folder for folder in path.parents if not os.path.lexists(folder)]
        try:
            partial = _partial(path)
            partial.open("xb").close()
            partial.unlink()
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"cannot write {str(path)[:200]!r}: {cause}") from error
        finally:
            with suppress(OSError):
                for folder in absent:
                    folder.rmdir()


class JsonLines:
    """Appends to a file of JSON objects, one per line. Each line is written whole or not at all, with ``sync`` to the
    disk before ``append`` returns. An incomplete last line, of a killed process, is removed first."""

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._sync = sync
        try:
            self._file: BinaryIO = path.open("ab", buffering=0)
            if length := path.stat().st_size:  # it may be long, so the end of the last line is searched from the end
                with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
                    length = lines.rfind(b"\n") + 1
            self._file.truncate(length)
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}") from error

    def append(self, line: str) -> None:
        """Write one line, given without its end; after an ``OSError`` (a full disk) the file is unchanged."""
        data = line.encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            self._file.truncate(before)
            raise
        if self._sync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, without their ends and without an incomplete last line; none if there is no file."""
    try:
        if path.is_symlink() and not leads_inside(path, path.parent):
            raise OutsideError(f"{path} is a link that leads outside its folder: remove it first")
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def mend_lines(path: Path, model: type[BaseModel]) -> None:
    """Remove damaged lines from a file, and keep it as it was under another name. A file without any record is not
    changed: it may be of another version."""
    kept, lost = list[bytes](), 0
    for line in read_lines(path):
        try:
            model.model_validate_json(line)
            kept.append(line + b"\n")
        except ValidationError:
            lost += 1
    if kept and lost:
        set_aside(path, f"{path} is damaged: {lost} of its {lost + len(kept)} lines cannot be read")
        write_whole(path, b"".join(kept))


class DiskCache:
    """One small JSON file for each key, in a folder that processes can share; ``what`` names it in messages."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, kind: type[M]) -> M | None:
        """The object of the key; None if there is none that can be read."""
        try:
            return kind.model_validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None

    def put(self, key: str, value: BaseModel) -> None:
        """Save an object; ``SettingsError`` if the folder cannot be written."""
        with self._writing():
            write_whole(self._path(key), value.model_dump_json().encode())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            where = f"the cache of {self._what} in {self._folder}"
            raise SettingsError(f"{where} cannot be written: {error.strerror}") from error


def content_hash(*parts: object) -> str:
    """SHA-256 of the JSON of ``parts``, in hexadecimal."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Link a file, whose content never changes, to another name, or copy it if it cannot be linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
