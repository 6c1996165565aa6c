"""Two methods on three prompts, drawn by fakes; on one prompt they draw the same picture."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from detailscribe.agent import run
from detailscribe.agent.evaluation.collect import collect
from detailscribe.agent.evaluation.survey import CRITERIA, Key, make_survey, write_survey
from detailscribe.agent.policies import BestOfN

from ...agent.fakes import PROMPT, roles


class Written(NamedTuple):
    page: Path
    key: Path
    pictures: Path | None


PROMPTS = (PROMPT, "a dog holding a red umbrella", "a pig </script><b>holding</b> a red umbrella")
SEEDS = {"plainmethod": (1, 2, 3), "finemethod": (11, 12, 3)}
FAILS = {"plainmethod": "red holding", "finemethod": ""}


def make_runs(folder: Path) -> list[str]:
    """The arguments of ``rate``."""
    for method, seeds in SEEDS.items():
        for n, (prompt, seed) in enumerate(zip(PROMPTS, seeds, strict=True)):
            made = roles({"00-00": FAILS[method]})
            run(prompt, out=folder / method / f"p{n}", seed=seed, policy=BestOfN(n=1), **made)
    return [str(folder / method) for method in SEEDS]


def survey_of(runs: list[str], **how):
    return make_survey(collect(runs).shots, tuple(CRITERIA.values()), **how)


def leave(runs: list[str], folder: Path, *, beside: bool = False, **how):
    """Page and key in ``folder``."""
    page, key = folder / "rating.html", folder / "rating.key.json"
    return Written(page, key, write_survey(survey_of(runs, **how), page, key, beside=beside))


def told(page: Path) -> dict:
    """All that the page knows."""
    html = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def pixels(item: dict) -> Image.Image:
    """The picture of an item of a page that holds it."""
    return Image.open(BytesIO(png(item)))


def png(item: dict) -> bytes:
    return base64.b64decode(item["picture"].partition(",")[2])


def key_of(written) -> Key:
    return Key.model_validate_json(written.key.read_bytes())


def export(key: Key, rater: str, ratings: dict, **changes) -> dict:
    """A file as the page would leave it."""
    about = {"kind": "detailscribe-ratings", "version": 1, "survey": key.survey, "seed": 0, "rater": rater}
    return about | {"time": "2026-11-23T12:00:00Z", "ratings": ratings} | changes


def save(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path
