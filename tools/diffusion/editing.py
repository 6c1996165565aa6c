"""The diffusion role where one model draws and refines, and another one edits."""

from typing import Any

from ...state import Attempt, ImageRecord
from ..files import Store
from ..roles import Diffusion, Progress, model_name


class WithEditor:
    """Draws and refines with one model, and edits with another; what else is asked of it is that of the first."""

    def __init__(self, draws: Diffusion, edits: Diffusion) -> None:
        self.draws, self.edits = draws, edits
        self.model = f"{model_name(draws)}, edits by {model_name(edits)}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.draws, name)

    async def draw(
        self, attempt: Attempt, store: Store, *, source: ImageRecord | None = None, progress: Progress | None = None
    ) -> ImageRecord:
        """Carry an attempt out; an edit has no latent, since the model that draws may not read it."""
        if attempt.operator != "edit":
            return await self.draws.draw(attempt, store, source=source, progress=progress)
        image = await self.edits.draw(attempt, store, source=source, progress=progress)
        return image.model_copy(update={"latent": None, "trajectory": {}})
