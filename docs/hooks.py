"""Add to the site what lies outside docs/, and mend the links between both; MkDocs calls this.

On GitHub a page links to ``../engines/weights/fine.md``; on the site that is the page
``models/fine.md``. A link to a source file, which the site does not have, becomes plain text.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "engines/weights").glob("*.md"))
# Pages by their file in the repository.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{card.relative_to(ROOT).as_posix(): f"models/{card.name}" for card in CARDS},
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")

log = logging.getLogger(f"mkdocs.{__name__}")  # a warning there ends a strict build


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at pages of the site, and make plain text of those to source files."""
    name: str = page.file.src_uri
    here = PurePosixPath(SOURCES.get(name, f"docs/{name}"))

    def mend(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        source = os.path.normpath(here.parent / target)
        if source in PAGES or source.startswith("docs/"):
            to = PAGES.get(source, source.removeprefix("docs/"))
            return f"[{text}]({os.path.relpath(to, PurePosixPath(name).parent)}{anchor})"
        if not (ROOT / source).exists():
            log.warning("%s: links to %s, which is not there", here, target)
        return text

    return LINK.sub(mend, markdown)
