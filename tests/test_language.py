"""The wording of code and documentation: banned words that have a plain equivalent.

The check reads the tracked files of the package, documentation, examples and tests. White space and
comment marks are flattened first, so that a phrase is found across line ends. The changelog is
exempt. Word boundaries exclude parts of names with underscores.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("spikelca", "tests", "docs", "examples", "README.md")
SUFFIXES = {".py", ".md", ".rst", ".html", ".ipynb"}
EXEMPT = {"docs/changes.md", "tests/test_language.py"}

# An example of each pattern, the pattern, and what to write instead.
BANNED = {
    "was awaited": (
        r"\b[Aa]wait(?:s|ed|ing)?\b",
        "must be, expected, requires",
    ),
    "unless told": (
        r"\btold\b|(?<!\.)\btells?\b|\btelling\b",
        "given, by default, shows, distinguishes",
    ),
    "make room": (
        r"(?<![A-Za-z])[Rr]ooms?(?![a-z])|\bROOM\b",
        "workspace, module, space",
    ),
    "the fastest road": (
        r"\broads?\b",
        "method, pipeline, way",
    ),
    "a scikit-learn face": (
        r"scikit-learn faces?\b|\bits face in\b|\b[Tt]he face only\b",
        "interface, API",
    ),
    "it stands in": (
        r"\bstands? (?:in|with|behind|beside|between|ready|above|over|apart)\b",
        "is in, see, is described in",
    ),
    "beside the peers": (
        r"\b[Bb]eside\b",
        "next to, compared with, and",
    ),
    "neurons who fire": (
        r"\b(?:who|whom|[Ww]hoever)\b",
        "that, which, users, callers",
    ),
    "nobody fires": (
        r"\b(?:[Nn]o|[Ss]ome|[Ee]very)body\b|\bNOBODY\b",
        "no neuron, none, all, `NO_INDEX`",
    ),
    "his spikes": (
        r"\b(?:his|her|him|she|he)\b",
        "its, it, they",
    ),
    "drawn anew": (
        r"\banew\b",
        "again, new, re-initialised",
    ),
    "to the last bit": (
        r"to the (?:last )?bit\b|\b(?:same|the) bits\b|\blast bits\b",
        "bit-identical, bitwise reproducible",
    ),
    "is refused": (
        r"\brefus(?:e|es|ed|al|ing)\b",
        "raises, rejects, is rejected, not supported",
    ),
    "hand over": (
        r"\bhand(?:s|ed|ing)? (?:over|out|it|them|back|on)\b|\bat hand\b",
        "pass, return, provide, available",
    ),
    "let in": (
        r"\blet(?:s|ting)? (?:go|in)\b|\blet_in\b",
        "release, add",
    ),
    "settles in the mean": (
        r"\bin the mean\b(?! square)",
        "on average",
    ),
    "the learning ends": (
        r"\b(?:[Aa]|[Tt]he|[Aa]nother|[Oo]ne) learning\b(?! (?:rate|rule|step|curve|loop|"
        r"phase))|\blearnings\b",
        "training run, training",
    ),
    "the figures are of": (
        r"\bfigures? (?:mean|is just|on this page|that the test)|"
        r"paper's figures(?! \d|:)|\b[Tt]he figures are of|[Ee]very figure on",
        "numbers, values, timings",
    ),
    "settled code": (
        r"\b[Ss]ettled codes?\b|\b(?:un)?settled = |\b[Uu]nsettled\b|\bsettle\(",
        "steady-state code, response, unconverged, `encode(`",
    ),
    "goes on": (
        r"\bgo(?:es|ing)? on\b|\bgone on\b",
        "continue, resume, proceed",
    ),
    "a lesson": (
        r"\b(?:[Ll]esson|[Bb]ookmark)s?\b",
        "statistics, state",
    ),
    "border guard": (
        r"\bborder guard\b|\bone door\b|\bhouse\b",
        "validation, entry point, package copy",
    ),
    "learnt": (
        r"\blearnt\b",
        "learned",
    ),
    "cheating": (
        r"\bcheat(?:s|ed|ing)?\b(?! sheet)",
        "label leakage",
    ),
    "a stranger": (
        r"\bstrangers?\b|\bsuspicion\b",
        "untrusted, validated",
    ),
    "takes the place of": (
        r"\btak(?:es?|en|ing) the place of\b|\btakes its place\b",
        "replaces",
    ),
    "foreseen": (
        r"\bforese(?:e|es|en|eing)\b|\bunforeseen\b|\bforesight\b",
        "predict, predicted, mispredicted",
    ),
    "taught": (
        r"\btaught\b",
        "clamped (phase), trained",
    ),
    "ms a step": (
        r"\b(?:us|ms|bytes|[Mm]icroseconds|spikes?|once|tasks|images|"
        r"threads) an? (?:sample|step|minute|second|row|image|round|worker|tau|chunk)\b",
        "per sample, per step",
    ),
    "is no number": (
        r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b)\w+",
        "is not a, are not",
    ),
    "5 us": (
        r"\b\d[\d.,]* us\b",
        "µs",
    ),
    "the wall's clock": (
        r"\bthe wall's\b|\bof the wall\b|\bthe wall tells\b",
        "wall-clock time",
    ),
    "at use": (
        r"\b[Aa]t use\b",
        "at inference",
    ),
    "in vain": (
        r"\b(?:ears|culprit|muddled|in vain)\b",
        "`readout`, invalid value, (rewrite)",
    ),
    "optimized": (
        r"\b(?:normaliz(?!e\b|er\b)|optimiz(?!e\b)|minimiz(?!e\b)|initializ|serializ|"
        r"recogniz|organiz|summariz)\w*|\b(?:gray|behavior|labeled|modeled)\b",
        "British form",
    ),
}

# Phrases near a pattern that are correct English or names of other packages.
ALLOWED = (
    "file.tell()",
    "the learning rate, a learning rule and the learning loop",
    "the mean square of the error",
    "in the mean square",
    "the paper's figures 1 to 5",
    "a cheat sheet",
    "there is no dictionary",
    "it is no longer active",
    "np.linalg.norm(normalize(X)) and Normalizer",
    "scipy.optimize",
    "stands for",
    "besides",
    "mushroom",
    "whose",
    "the potential settles",
    "differ in the last bit",
)


@cache
def flatten(text: str) -> str:
    """Replace white space, and the comment marks after it, by single spaces."""
    return re.sub(r"\s+(?:# )?", " ", text)


def find_banned(pattern: str, text: str) -> list[str]:
    """The phrases of a text that match a pattern."""
    return [match[0] for match in re.finditer(pattern, flatten(text))]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The tracked files with text, by name; skips where there is no git repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *FOLDERS], cwd=ROOT, capture_output=True, check=True
    )
    names = listed.stdout.decode().split("\0")
    names = [name for name in names if Path(name).suffix in SUFFIXES and name not in EXEMPT]
    paths = {name: ROOT / name for name in names}
    return {name: p.read_text(encoding="utf-8") for name, p in paths.items() if p.exists()}


def test_texts_of_all_folders_are_checked(texts):
    assert {name.split("/")[0] for name in texts} == set(FOLDERS)


@pytest.mark.parametrize("example", BANNED)
def test_banned_words_are_absent(example, texts):
    pattern, instead = BANNED[example]
    hits = {name: find_banned(pattern, text) for name, text in texts.items()}
    hits = {name: phrases for name, phrases in hits.items() if phrases}
    assert not hits, f"write: {instead}"


@pytest.mark.parametrize("example", BANNED)
def test_inserted_banned_phrase_is_found(example, texts):
    pattern, _ = BANNED[example]
    text = texts["README.md"]
    assert not find_banned(pattern, text)
    middle = text.index("\n\n", len(text) // 2)
    for inserted in (example, example.replace(" ", "\n    # ")):
        changed = f"{text[:middle]}\n{inserted}{text[middle:]}"
        assert find_banned(pattern, changed) == [re.search(pattern, example)[0]]


@pytest.mark.parametrize("phrase", ALLOWED)
def test_allowed_phrase_is_not_found(phrase):
    assert not [example for example, (pattern, _) in BANNED.items() if find_banned(pattern, phrase)]
