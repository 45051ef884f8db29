"""The changes that are made: which places of the source can change, and how.

Population: comparison, arithmetic and Boolean operators, dropped signs and `not`, numbers (n to
n + 1, x to 1.2 x, or to 10 x where it is small or large like a tolerance), True and False, min/max
and the like, bounds of slices, dropped keyword arguments, conditions (to False), filters (to True),
and statements that are left out (calls, `raise`). Default values are among the numbers.

Not changed: strings, annotations, decorators, assertions (and `strict` of zip), imports, the
version, arguments of errors, warnings and printed text, the constants in `SPEED`, the arguments in
`LOOKS`; in the modules that draw no numbers, keyword arguments and calls, which are mostly looks.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ("spikelca/plotting/", "spikelca/experiments/figures/", "spikelca/cli/figures")
SPEED = {
    "BATCH_ROWS", "CHUNK_BYTES", "CHUNK_SAMPLES", "DIGEST_ROWS", "STEPS_PER_DRAW",
    "MIN_SAMPLES_PER_THREAD", "MAX_BLOCK_SAMPLES", "MAX_ACTIVE", "SMALL_SIZE",
}  # fmt: skip
LOOKS = {
    "stacklevel", "indent", "fontsize", "figsize", "dpi", "help", "metavar", "prog", "description",
    "epilog", "desc", "unit", "strict",
}  # fmt: skip
SAYS = {"print", "warn", "say", "note", "TypeVar", "cast"}
OPERATORS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "is": "is not",
    "is not": "is", "in": "not in", "not in": "in", "+": "-", "-": "+", "*": "/", "/": "*",
    "//": "*", "%": "*", "**": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
    "and": "or", "or": "and",
}  # fmt: skip
TOKEN = re.compile(rb"is\s+not\b|not\s+in\b|\bis\b|\bin\b|\band\b|\bor\b|[-+*/%<>=!&|]+")
SWAPS = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "argmin": "argmax"}
SWAPS |= {new: old for old, new in SWAPS.items()}


class Change(NamedTuple):
    """Bytes of a file that are replaced."""

    path: str
    line: int
    kind: str
    start: int
    end: int
    old: str
    new: str
    text: str  # the line, by which the change is found again after an edit above it

    def key(self) -> tuple[str, ...]:
        return (self.path, self.kind, self.text, self.old, self.new)


class Finder:
    """All changes of the population in one file."""

    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.lines = source.split(b"\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.looks = path.startswith(PICTURES)

    def span(self, node: Any) -> tuple[int, int]:
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def replace(self, kind: str, start: int, end: int, new: str) -> Change:
        line = self.source.count(b"\n", 0, start) + 1
        old = self.source[start:end].decode()
        return Change(self.path, line, kind, start, end, old, new, self.lines[line - 1].decode())

    def node(self, kind: str, node: Any, new: str) -> Change:
        return self.replace(kind, *self.span(node), new)

    def text(self, node: Any) -> str:
        return self.source[slice(*self.span(node))].decode()

    def operator(self, kind: str, left: Any, right: Any) -> Iterator[Change]:
        """The operator between two operands."""
        start = self.span(left)[1]
        found = TOKEN.search(self.source, start, self.span(right)[0])
        old = " ".join(found.group().decode().split()) if found else ""
        augmented = old.endswith("=") and old[:-1] in OPERATORS and kind == "arithmetic"
        if found and (new := OPERATORS.get(old[:-1] if augmented else old)):
            yield self.replace(kind, *found.span(), new + "=" * augmented)

    def of(self, node: Any, parent: Any) -> Iterator[Change]:
        """The changes that begin at a node, without those of its children."""
        match node:
            case ast.Compare():
                for left, right in zip([node.left, *node.comparators], node.comparators):  # noqa: B905
                    yield from self.operator("comparison", left, right)
            case ast.BinOp():
                yield from self.operator("arithmetic", node.left, node.right)
            case ast.AugAssign():
                yield from self.operator("arithmetic", node.target, node.value)
            case ast.BoolOp():
                yield from self.operator("boolean", *node.values[:2])
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield self.node("sign", node, self.text(node.operand))
            case ast.Constant(value=bool(value)) if not self.looks:
                yield self.node("constant", node, str(not value))
            case ast.Constant(value=int(value)) if not self.looks:
                yield self.node("constant", node, str(value + 1))
            case ast.Constant(value=float(value)) if not self.looks:
                more = 1.2 if 1e-3 <= value <= 1e3 else 10
                yield self.node("constant", node, repr(value * more if value else 1.0))
            case ast.If() | ast.IfExp():
                yield self.node("condition", node.test, "False")
            case ast.comprehension():
                yield from (self.node("filter", test, "True") for test in node.ifs)
            case ast.Slice():
                for bound, step in ((node.lower, "+ 1"), (node.upper, "- 1")):
                    if bound and not isinstance(bound, ast.Constant):
                        yield self.node("slice", bound, f"({self.text(bound)}) {step}")
            case ast.Call():
                yield from self.call(node)
            case ast.Expr(value=ast.Call()) if not self.looks and name_of(node.value) not in SAYS:
                yield self.node("statement", node, "pass")
            case ast.Raise() if not (isinstance(parent, ast.If) and parent.body == [node]):
                yield self.node("statement", node, "pass")

    def call(self, node: ast.Call) -> Iterator[Change]:
        name = name_of(node)
        if name in SWAPS:
            end = self.span(node.func)[1]
            yield self.replace("swap", end - len(name), end, SWAPS[name])
        if self.looks or name in SAYS:
            return
        parts = sorted([*node.args, *node.keywords], key=lambda part: self.span(part))
        for index, part in enumerate(parts):
            if isinstance(part, ast.keyword) and part.arg and part.arg not in LOOKS:
                start, end = self.span(part)
                if index:
                    start = self.source.index(b",", self.span(parts[index - 1])[1])
                elif len(parts) > 1:
                    end = self.span(parts[1])[0]
                yield self.replace("keyword", start, end, "")

    def walk(self, node: Any, parent: Any = None) -> Iterator[Change]:
        if is_left_alone(node):
            return
        yield from self.of(node, parent)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and name_of(node) in SAYS):
            return
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self.walk(child, node)


def name_of(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def is_left_alone(node: Any) -> bool:
    match node:
        case ast.JoinedStr() | ast.Assert():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.keyword(arg=arg):
            return arg in LOOKS
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in SPEED
    return False


def population(only: str) -> list[Change]:
    """All changes that still can be parsed and mean something else."""
    found = []
    for path in sorted((ROOT / "spikelca").rglob("*.py")):
        name, source = path.relative_to(ROOT).as_posix(), path.read_bytes()
        if fnmatch(name, only) and path.name != "_version.py":
            found += Finder(name, source).walk(ast.parse(source))
    return found


def changed(source: bytes, change: Change) -> bytes:
    return source[: change.start] + change.new.encode() + source[change.end :]


def choose(changes: list[Change], count: int, seed: int) -> list[Change]:
    """At random, with at most a few per file; without what Python cannot parse."""
    shuffled = random.Random(seed).sample(changes, len(changes))
    most = max(2, -(-2 * count // len({change.path for change in changes})))
    taken: Counter[str] = Counter()
    chosen: list[Change] = []
    for change in shuffled:
        if len(chosen) < count and taken[change.path] < most:
            source = (ROOT / change.path).read_bytes()
            try:
                same = ast.dump(ast.parse(changed(source, change))) == ast.dump(ast.parse(source))
            except SyntaxError:
                continue
            if not same:
                chosen.append(change)
                taken[change.path] += 1
    return chosen
