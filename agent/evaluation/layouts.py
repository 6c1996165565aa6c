"""Pictures of runs under the names that evaluators of benchmarks read."""

import json
import re
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

    ``SettingsError`` if the folder holds something, or cannot be written.
    """
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty: name another --out")
    counts, lines, folders = Counter[tuple[str, str]](), list[str](), dict[str, str]()
    paths, checklists = defaultdict[str, dict[str, str]](dict), collected.checklists
    try:
        for shot in collected.shots:
            if shot.method not in folders:
                name = slug(shot.method) or "method"
                folders[shot.method] = f"{name}-{len(folders)}" if name in folders.values() else name
            folder, name = folders[shot.method], re.sub(r"[^\w.-]+", "_", shot.id or shot.run)
            number = counts[folder, name]
            counts[folder, name] += 1
            file = out / folder / f"{name}{f'_{number}' if layout == 'unigenbench' or number else ''}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shot.sample.store.path(shot.sample.image.path), file)
            paths[folder].setdefault(shot.sample.prompt, str(file.resolve()))
            about = {"file": file.relative_to(out).as_posix(), "id": shot.id or shot.run, "prompt": shot.sample.prompt}
            about |= {"method": shot.method, "run": shot.run, "image": shot.sample.image.id, "seed": shot.seed}
            lines.append(json.dumps(about | {"checklist": checklists[shot.method]}, ensure_ascii=False))
        if layout == "geneval2":
            for folder, by_prompt in paths.items():
                write_whole(out / f"{folder}.json", json.dumps(by_prompt, ensure_ascii=False, indent=1).encode())
        write_whole(out / MANIFEST, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise SettingsError(f"cannot write {out}: {error}") from error
    short = sorted({folder for (folder, _), count in counts.items() if count < WANTED})
    if layout != "unigenbench" or not short:
        return []
    return [f"of {', '.join(short)}: prompts have fewer than the {WANTED} pictures that its evaluator reads"]
