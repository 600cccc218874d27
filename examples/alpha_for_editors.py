"""Write a person with alpha as editors, browsers and compositors want it.

    python examples/alpha_for_editors.py CLIP FOLDER

The same as ``wsshm run CLIP --save foreground -o person.mov`` and so on; docs/transparent.md says
how to import each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import wsshm

OUTPUTS = {
    "person.mov": "ProRes 4444 for DaVinci Resolve, Premiere Pro and Final Cut Pro",
    "person.webm": "VP9 for browsers and OBS",
    "person/": "PNG files for After Effects, Blender and Nuke",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a person with alpha, for every program.")
    parser.add_argument("clip")
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    parser.add_argument("--model", help="a shipped model or a file")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, use in OUTPUTS.items():
        output = f"{given.folder}/{name}"
        report = wsshm.run(given.clip, output, save="foreground", model=given.model)
        print(f"{output}: {use} ({report.frames} frames in {report.seconds:.1f} s)")


if __name__ == "__main__":
    main()
