"""Reads docs/spec.md: its tables, by document and section, and what its places name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "spec.md"
KINDS = ("table", "column", "index", "trigger", "constraint", "function", "code", "env")

_NAMED = re.compile(rf"\b({'|'.join(KINDS)}) `([^`]+)`")
_ENDPOINT = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s]*)`")


@dataclass(frozen=True)
class Row:
    """One line of a table: what the document says, and where it is."""

    document: int
    section: str
    subject: str
    place: str
    note: str

    @property
    def names(self) -> list[str]:
        """The subject's words in backticks."""
        return re.findall(r"`([^`]+)`", self.subject)


def rows() -> list[Row]:
    found, document, sections = [], 0, {2: "", 3: "", 4: ""}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"(#+) (.+)", line):
            level = len(heading[1])
            document += level == 1 and "document:" in heading[2]
            sections = {depth: "" if depth > level else name for depth, name in sections.items()}
            sections[level] = heading[2]
        elif document and line.startswith("| ") and not line.startswith(("| --", "|--")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 3 and cells[1] != "place":
                section = " / ".join(sections[depth] for depth in (2, 3, 4) if sections[depth])
                found.append(Row(document, section, *cells))
    return found


def named(kind: str) -> list[str]:
    """Everything of one kind that the page names anywhere after its introduction, once each."""
    text = PAGE.read_text(encoding="utf-8").partition("\n---\n")[2]
    return list(dict.fromkeys(name for found, name in _NAMED.findall(text) if found == kind))


def endpoints() -> list[tuple[str, str]]:
    """Every method and path that a place or a list of additions names."""
    text = PAGE.read_text(encoding="utf-8").partition("\n---\n")[2]
    places = "\n".join(row.place for row in rows())
    additions = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    return sorted(set(_ENDPOINT.findall(f"{places}\n{additions}")))
