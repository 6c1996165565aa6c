"""Words, marks and places of a text in the flat notation."""

import json
import re
from collections.abc import Collection
from typing import NamedTuple

QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(rf'\s*(?:(?P<quoted>{QUOTED})|(?P<word>[^\s()+=:,"]+)|(?P<mark>[()+=:,]))', re.DOTALL)
_PLAIN = re.compile(r'[^\s()+=:,"]+')


class NotationError(ValueError):
    """A text is not in the flat notation; the message says what is wrong and where."""

    def __init__(self, problem: str, text: str, position: int) -> None:
        near = text[position : position + 20].strip()
        where = f"at character {position + 1}, near {near!r}" if near else "at the end"
        super().__init__(f"{problem}, {where}")
        self.position = position
        """Where in the text, from 0."""


class Token(NamedTuple):
    """A word or a mark."""

    text: str
    """Of a quoted word, what the quotes hold."""
    kind: str | None
    """quoted, word or mark; None at the end of the text."""
    position: int
    """Where it starts, from 0."""

    @property
    def is_word(self) -> bool:
        """Whether it is a word, quoted or not."""
        return self.kind in ("word", "quoted")

    def is_mark(self, mark: str) -> bool:
        """Whether it is this mark, and not a quoted one."""
        return self.kind == "mark" and self.text == mark

    def is_keyword(self, words: Collection[str]) -> bool:
        """Whether it is one of these words, and not a quoted one."""
        return self.kind == "word" and self.text in words


def is_plain(text: str) -> bool:
    """Whether a word needs no quotes."""
    return _PLAIN.fullmatch(text) is not None


def quote(text: str) -> str:
    """One quoted word."""
    return json.dumps(text, ensure_ascii=False)


def unquote(quoted: str, text: str, position: int) -> str:
    """What the quotes hold; they stand at ``position`` of ``text``."""
    try:
        return json.loads(quoted, strict=False)
    except ValueError as error:
        raise NotationError("an escape that JSON does not know", text, position) from error


class Tokens:
    """The tokens of a text from a position on."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._position = position

    def peek(self) -> Token:
        """The next token, left in place."""
        return self._scan()[0]

    def take(self) -> Token:
        """The next token."""
        token, self._position = self._scan()
        return token

    def expect(self, mark: str) -> None:
        """Pass over the next token, which must be this mark."""
        token = self.take()
        if not token.is_mark(mark):
            raise self.error(f"expected {mark!r}", token)

    def error(self, problem: str, token: Token) -> NotationError:
        """An error at a token's place."""
        return NotationError(problem, self._text, token.position)

    def _scan(self) -> tuple[Token, int]:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            return self._end()
        kind = str(match.lastgroup)
        start = match.start(kind)
        word = unquote(match[kind], self._text, start) if kind == "quoted" else match[kind]
        return Token(word, kind, start), match.end()

    def _end(self) -> tuple[Token, int]:
        rest = self._text[self._position :].lstrip()
        start = len(self._text) - len(rest)
        if rest:
            raise NotationError("a quote that is never closed", self._text, start)
        return Token("", None, start), start
