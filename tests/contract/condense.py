"""Write recorded.json anew: ``python -m tests.contract.condense FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.contract.shapes import condensed

RECORDED = Path(__file__).with_name("recorded.json")


def text_of(folder: Path) -> str:
    """Return what recorded.json is for a folder of recordings: one kind of call a line."""
    lines = [f"{json.dumps(kind)}: {json.dumps(facts)}" for kind, facts in condensed(folder).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    RECORDED.write_text(text_of(Path(sys.argv[1])))
