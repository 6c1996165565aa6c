"""Whether a model fails one job or all of them."""

from collections.abc import Callable, Iterator

from ...tools.errors import ModelError
from .outcomes import Ended


class Doubts:
    """Holds back jobs whose errors may not be their own.

    A ``ModelError`` says that a model cannot be used; but a server may refuse one prompt in the same words. When a
    job that began later comes to its end, the model works, and the error was the job's own. When more are held back
    than run side by side, or at the end when no job has come to its end, the first of their errors is raised; none
    of them gets a row, so that they are run again once the model works.
    """

    def __init__(self, concurrency: int) -> None:
        self._limit = concurrency
        self._held: list[Ended] = []
        self._any_done = False

    def settle(self, ended: Ended) -> Iterator[Ended]:
        """The jobs that there is no doubt about, now that this one ended.

        Raises:
            ModelError: no job can go on, as far as can be told.
        """
        if isinstance(ended.outcome, ModelError):
            self._hold(ended.outcome, ended)
            return
        if not isinstance(ended.outcome, BaseException):
            self._any_done = True
            yield from self._released(lambda held: held.until < ended.number)
        yield ended

    def rest(self) -> Iterator[Ended]:
        """Those that are left when all jobs have ended.

        Raises:
            ModelError: no job has come to its end.
        """
        for held in self._held:
            if isinstance(held.outcome, ModelError) and not self._any_done:
                raise held.outcome
        yield from self._released(lambda held: True)

    def _hold(self, error: ModelError, ended: Ended) -> None:
        self._held.append(ended)
        if len(self._held) > self._limit:
            raise error

    def _released(self, sure: Callable[[Ended], bool]) -> list[Ended]:
        released = [held for held in self._held if sure(held)]
        self._held = [held for held in self._held if not sure(held)]
        return released
