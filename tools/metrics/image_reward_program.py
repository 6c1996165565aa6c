"""Scores images with ImageReward, in an environment of its own; nothing of this package is imported.

Run by that environment's Python. One JSON object a line: see ``worker`` for the protocol.

    python image_reward_program.py [CHECKPOINT [MED_CONFIG]]
"""

import json
import os
import sys
import types

# Libraries print to standard output, which belongs to the protocol.
_ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


def say(what):
    _ANSWERS.write(json.dumps(what) + "\n")
    _ANSWERS.flush()


def load(checkpoint="ImageReward-v1.0", med_config=None):
    # The package imports OpenAI's clip for other scores than its own; it is on no registry.
    sys.modules.setdefault("clip", types.ModuleType("clip"))
    import ImageReward

    return ImageReward.load(checkpoint, med_config=med_config)


def main(arguments):
    try:
        model = load(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other end must hear of it
        say({"error": f"ImageReward cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())[:500]}"})
        return 1
    import torch

    say({"ready": True, "model": arguments[0] if arguments else "ImageReward-v1.0"})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            with torch.no_grad():
                say({"id": asked["id"], "score": float(model.score(asked["prompt"], asked["image"]))})
        except Exception as error:  # noqa: BLE001 - one bad image must not end the others
            say({"id": asked["id"], "error": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
