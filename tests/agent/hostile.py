"""Text that wants to be more than text, and a critic that says it everywhere."""

from dataclasses import dataclass

from detailscribe.state import ConceptGraph, Critique, Exchange, ImageRecord
from detailscribe.tools.files import Store

from .fakes import ScriptedCritic

HOSTILE = (
    "<script>window.stolen=1</script>\"'><img src=x onerror=window.stolen=2> javascript:window.stolen=3"
    " </style></title>{{ 7 * 7 }} https://evil.example/x.png \u202eمرحبا 🦊 " + "W" * 900
)


@dataclass
class HostileCritic(ScriptedCritic):
    """A scripted critic whose every word is hostile."""

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        seen = await super().critique(image, concepts, store)
        return seen.model_copy(
            update={
                "verdicts": tuple(v.model_copy(update={"evidence": HOSTILE}) for v in seen.verdicts),
                "issues": (HOSTILE,),
                "refined_prompt": HOSTILE if seen.refined_prompt else None,
                "exchanges": (Exchange(model=HOSTILE, prompt=HOSTILE, reply=f"\x1b]0;title\x07{HOSTILE}"),),
            }
        )
