"""Templates: files with ``$variables``, rendered strictly, with a name and a hash."""

import hashlib
import re
import string
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

FOLDER = Path(__file__).parent / "templates"
"""The templates that ship."""


class TemplateError(ValueError):
    """A template is missing, malformed, or rendered with the wrong variables."""


@dataclass(frozen=True)
class Template:
    """A text with ``$variables``; ``$$`` is a dollar sign, and a ``$`` that starts no variable a ``TemplateError``."""

    name: str
    """The file's, without the suffix."""
    text: str
    """The file's, without its last line break."""

    def __post_init__(self) -> None:
        if not string.Template(self.text).is_valid():
            raise TemplateError(f"template {self.name!r} has a $ that starts no variable; write $$ for a dollar sign")

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that ``render`` takes."""
        return frozenset(string.Template(self.text).get_identifiers())

    @property
    def label(self) -> str:
        """Name and 12 digits of the text's SHA-256, for the trace: ``decompose@0123456789ab``."""
        return f"{self.name}@{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    def render(self, /, **variables: str | int) -> str:
        """The text with its variables filled in; ``TemplateError`` names every missing and every surplus one. A value
        is never read as a template, and cannot close a tag: ``</prompt>`` becomes ``< /prompt>``."""
        _require_alike(f"template {self.name!r} was rendered with", variables.keys(), self.variables)
        tags = "|".join(re.findall(r"</(\w+)>", self.text))
        closing = re.compile(rf"</(?=\s*(?:{tags})\b)", re.IGNORECASE)
        filled = {name: closing.sub("< /", str(value)) if tags else value for name, value in variables.items()}
        return string.Template(self.text).substitute(filled)


def load(name: str, folder: Path | str | None = None) -> Template:
    """The template of that name in ``folder``, else the one that ships; ``TemplateError`` if there is none, or the one
    in ``folder`` has other variables than the one that ships."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise TemplateError(f"{name!r} is no template name: small letters, digits and underscores")
    shipped = _read(FOLDER, name)
    own = None if folder is None else _read(Path(folder), name)
    if own is not None and shipped is not None:
        _require_alike(f"template {name!r} in {folder} has", own.variables, shipped.variables)
    if (template := own or shipped) is None:
        raise TemplateError(f"there is no template {name!r}; these ship: {', '.join(names())}")
    return template


def render(name: str, /, **variables: str | int) -> str:
    """Render a template that ships; raises as ``load`` and ``Template.render`` do."""
    return _shipped(name).render(**variables)


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))


_shipped = cache(load)


def _read(folder: Path, name: str) -> Template | None:
    try:
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"template {name!r} in {folder} cannot be read: {error}") from error
    return Template(name, text.removesuffix("\n"))


def _require_alike(what: str, given: Collection[str], wanted: Collection[str]) -> None:
    missing, surplus = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or surplus:
        raise TemplateError(
            f"{what} other variables than it declares;"
            f" missing: {', '.join(missing) or 'none'}; surplus: {', '.join(surplus) or 'none'}"
        )
