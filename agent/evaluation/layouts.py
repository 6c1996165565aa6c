"""Pictures of runs under the names that evaluators of benchmarks read."""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

from ...tools.errors import SettingsError
from ...tools.files import write_whole
from ..runs.folder import slug
from .collect import Collected

Layout = Literal["geneval2", "unigenbench", "folder"]
"""geneval2: a folder and, beside it, ``NAME.json`` from prompt to picture, which its ``--image_filepath_data`` takes;
unigenbench: ``INDEX_NUMBER.png`` in a folder, which its ``--data_path`` takes; folder: ``ID.png``."""
MANIFEST = "manifest.jsonl"
WANTED = 4
"""Pictures of a prompt that UniGenBench's evaluator reads."""


def write_layout(collected: Collected, layout: Layout, out: Path) -> list[str]:
    """Copy the pictures, a folder for each method, and write the manifest; return what a reader has to know.

    Args:
        collected: What is exported.
        layout: What reads it.
        out: The folder, absent or empty.

    Raises:
        SettingsError: the folder holds something, or cannot be written.
    """
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty: name another --out")
    counts, notes, lines = Counter[tuple[str, str]](), list[str](), list[str]()
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    try:
        for shot in collected.shots:
            id = shot.id or shot.run
            folder, number = slug(shot.method) or "method", counts[shot.method, id]
            counts[shot.method, id] += 1
            ending = f"_{number}" if layout == "unigenbench" or number else ""
            file = out / folder / f"{slug(id) or 'prompt'}{ending}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shot.sample.store.path(shot.sample.image.path), file)
            if layout != "geneval2" or shot.sample.prompt not in paths[folder]:
                paths[folder][shot.sample.prompt] = str(file.resolve())
            about = {"file": file.relative_to(out).as_posix(), "id": id, "prompt": shot.sample.prompt}
            about |= {"method": shot.method, "run": shot.run, "image": shot.sample.image.id, "seed": shot.seed}
            lines.append(json.dumps(about | {"checklist": collected.checklists[shot.method]}, ensure_ascii=False))
        if layout == "geneval2":
            for folder, by_prompt in paths.items():
                write_whole(out / f"{folder}.json", json.dumps(by_prompt, ensure_ascii=False, indent=1).encode())
        write_whole(out / MANIFEST, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {out}: {error}") from error
    short = sorted({method for (method, _), count in counts.items() if count < WANTED})
    if layout == "unigenbench" and short:
        notes.append(f"of {', '.join(short)}: prompts have fewer than the {WANTED} pictures that its evaluator reads")
    return notes
