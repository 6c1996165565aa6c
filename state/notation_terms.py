"""The terms of a text in the flat notation: ``(KIND ID: subject, subject relation object)``."""

from typing import NamedTuple, get_args

from .concepts import InteractionKind
from .notation_tokens import Token, Tokens

KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
KEYWORDS = ("is", "named", "number")
"""Middle words of three that say something of one entity."""


class Term(NamedTuple):
    """The parts of one term."""

    kind: InteractionKind | None
    """Where it is named."""
    id: str | None
    """Where it is named."""
    subjects: list[Token]
    """At least one."""
    words: list[Token]
    """What follows the subjects."""

    @property
    def is_about_one_entity(self) -> bool:
        """Whether it is no interaction."""
        if self.kind is not None or len(self.subjects) > 1:
            return False
        return not self.words or (len(self.words) == 2 and self.words[0].is_keyword(KEYWORDS))

    @property
    def relation(self) -> str:
        """Of an interaction."""
        return " ".join(w.text for w in self.words[:-1] or self.words)

    @property
    def object(self) -> Token | None:
        """Of an interaction that has one."""
        return self.words[-1] if len(self.words) > 1 else None

    def members(self) -> list[Token]:
        """Every entity that is mentioned."""
        alone = self.is_about_one_entity or self.object is None
        return self.subjects if alone else [*self.subjects, *self.words[-1:]]


def read_terms(tokens: Tokens) -> list[Term]:
    """``term + term + ...`` up to the end of the text."""
    terms = [_read_term(tokens)]
    while tokens.peek().kind is not None:
        tokens.expect("+")
        terms.append(_read_term(tokens))
    return terms


def _read_term(tokens: Tokens) -> Term:
    tokens.expect("(")
    words = _read_words(tokens)
    kind, id = None, None
    if tokens.peek().is_mark(":"):
        kind, id = _label(words, tokens)
        tokens.take()
        words = _read_words(tokens)
    subjects: list[Token] = []
    while tokens.peek().is_mark(","):
        subjects.append(_only(words, tokens))
        tokens.take()
        words = _read_words(tokens)
    end = tokens.peek()
    tokens.expect(")")
    if not words:
        raise tokens.error("an entity is missing", end)
    term = Term(kind, id, [*subjects, words[0]], words[1:])
    if not term.words and not term.is_about_one_entity:
        raise tokens.error("a relation is missing", end)
    return term


def _read_words(tokens: Tokens) -> list[Token]:
    words: list[Token] = []
    while tokens.peek().is_word:
        words.append(tokens.take())
        if not words[-1].text.strip():
            raise tokens.error("a word that says nothing", words[-1])
    return words


def _label(words: list[Token], tokens: Tokens) -> tuple[InteractionKind, str | None]:
    for kind in KINDS:
        if len(words) in (1, 2) and words[0].text == kind:
            return kind, words[1].text if len(words) == 2 else None
    place = words[0] if words else tokens.peek()
    raise tokens.error(f"before ':' stands one of {', '.join(KINDS)}, and an id if wanted", place)


def _only(words: list[Token], tokens: Tokens) -> Token:
    if len(words) != 1:
        raise tokens.error("before ',' stands one entity; quote it if it has several words", (*words, tokens.peek())[0])
    return words[0]
