"""Scores images with ImageReward, in an environment of its own; nothing of this package is imported.

Run by that environment's Python. One JSON object a line: see ``worker`` for the protocol.

    python image_reward_program.py [CHECKPOINT MED_CONFIG]
"""

import json
import os
import sys
import types
from typing import IO, Any


def main(arguments: list[str]) -> int:
    """Load the model, then answer line by line until the input ends."""
    # Libraries print to standard output, which belongs to the protocol.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            model = load(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other end must hear of it
            say(answers, {"error": f"ImageReward cannot be loaded: {told(error)}"})
            return 1
        say(answers, {"ready": True, "model": arguments[0] if arguments else "ImageReward-v1.0"})
        for line in sys.stdin.buffer:
            say(answers, scored(model, json.loads(line)))
    return 0


def load(checkpoint: str = "ImageReward-v1.0", med_config: "str | None" = None) -> Any:
    """The model of a name or file; a tokenizer that lies beside the file needs no hub."""
    # The package imports OpenAI's clip, which is on no registry, for other scores than its own. Of torchvision it
    # takes what scales pictures; the operators, which cannot be registered where pip took torch and torchvision from
    # different indexes, are left out.
    for unused in ("clip", "torchvision._meta_registrations"):
        sys.modules.setdefault(unused, types.ModuleType(unused))
    if med_config is not None:
        checkpoint, med_config = os.path.abspath(checkpoint), os.path.abspath(med_config)
        # The package asks for "bert-base-uncased", which is looked for here first.
        os.chdir(os.path.dirname(checkpoint))
    import ImageReward  # pyright: ignore[reportMissingImports]

    return ImageReward.load(checkpoint, med_config=med_config)


def scored(model: Any, asked: "dict[str, Any]") -> "dict[str, Any]":
    """The answer to one line."""
    import torch

    try:
        with torch.no_grad():
            return {"id": asked["id"], "score": float(model.score(asked["prompt"], asked["image"]))}
    except Exception as error:  # noqa: BLE001 - one bad image must not end the others
        return {"id": asked["id"], "error": told(error)}


def say(answers: "IO[str]", what: "dict[str, Any]") -> None:
    """One line of the protocol."""
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def told(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
