# /// script
# requires-python = ">=3.11"
# dependencies = ["image-reward==1.5", "transformers>=4.27,<4.50", "torch>=2.11,<2.14", "torchvision"]
# ///
"""Scores images with ImageReward (arXiv 2304.05977), in an environment of its own; nothing of DetailScribe is imported.

    uv run image_reward_program.py FOLDER [WEIGHTS]

FOLDER holds ``wanted.jsonl``, which `detailscribe evaluate --metrics image_reward` writes: one object a line, with
``key``, ``image`` and ``prompt``. Each that has no score yet is scored, and ``scores.jsonl`` gets a line for it, with
``key`` and ``score``, or ``error``. WEIGHTS is a folder with ``ImageReward.pt`` and ``med_config.json``, and, where no
hub can be reached, ``bert-base-uncased/``; without it the package downloads its own, 1.8 GB. The packages above were
found to install together with Python 3.11; 1.5 GB with a torch for the CPU.
"""

import json
import os
import sys
import types
from pathlib import Path
from typing import Any


def main(folder: Path, weights: "str | None" = None) -> int:
    """Load the model and score what is wanted; 1 if the model cannot be loaded."""
    scored = {line["key"] for line in lines_of(folder / "scores.jsonl") if "score" in line}
    wanted = {line["key"]: line for line in lines_of(folder / "wanted.jsonl") if line["key"] not in scored}
    if not wanted:
        return 0
    try:
        model = load(weights)
        import torch
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must see it in one line
        print(f"ImageReward cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    for key, line in wanted.items():
        try:
            with torch.no_grad():
                result = {"score": float(model.score(line["prompt"], line["image"]))}
        except Exception as error:  # noqa: BLE001 - one bad image must not end the others
            result = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        with (folder / "scores.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **result}) + "\n")
    return 0


def load(weights: "str | None") -> Any:
    """The model of a folder, or the one that the package downloads."""
    # The package imports OpenAI's clip, which is on no registry, for other scores than its own. Of torchvision it
    # takes what scales pictures; the operators, which cannot be registered where pip took torch and torchvision from
    # different indexes, are left out.
    for unused in ("clip", "torchvision._meta_registrations"):
        sys.modules.setdefault(unused, types.ModuleType(unused))
    if weights is not None:
        # The package asks for "bert-base-uncased", which is looked for in the working folder first.
        os.chdir(weights)
    import ImageReward  # pyright: ignore[reportMissingImports]

    if weights is None:
        return ImageReward.load("ImageReward-v1.0")
    return ImageReward.load(os.path.abspath("ImageReward.pt"), med_config=os.path.abspath("med_config.json"))


def lines_of(path: Path) -> "list[dict[str, Any]]":
    """The whole lines of a JSON-lines file; an absent one has none."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve(), *sys.argv[2:]))
