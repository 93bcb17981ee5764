"""`python -m tests.mutations [MODULE …]`: break each rule about money in every small way, and see that a test notices.

A mutant is one change of one operator, number, truth value, condition or result of a module. Each runs in a process of
its own against the module's pure tests; those that survive are shown with their line. Not part of the suite: it takes
minutes.
"""

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 60
TESTS = {
    "billing.money": ("billing/test_money.py",),
    "billing.rating": ("billing/test_rating.py",),
    "billing.wallet": ("billing/test_wallet.py", "billing/test_low_balance.py"),
    "billing.low_balance": ("billing/test_low_balance.py",),
    "billing.posting": ("billing/test_posting.py",),
    "billing.ledger": ("billing/test_ledger.py",),
    "billing.spending": ("billing/test_spending.py",),
    "billing.auto_recharge": ("billing/test_auto_recharge_rules.py",),
    "billing.topup_rules": ("billing/test_topup_rules.py",),
    "voice.connected_time": ("voice/test_connected_time.py", "voice/test_advance.py"),
    "voice.settlement": ("voice/test_settlement.py", "voice/test_advance.py"),
    "voice.call": ("voice/test_advance.py", "voice/test_schedule.py"),
    "voice.schedule": ("voice/test_schedule.py", "voice/test_advance.py", "voice/test_advance_table.py"),
    "voice.advance": ("voice/test_advance.py", "voice/test_advance_table.py", "voice/test_settlement.py"),
}
NEED_DATABASES = {"billing.ledger"}
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
OPTIONS = ("-x", "-q", "--assert=plain", "--hypothesis-seed=0", "-p", "no:cacheprovider", "-W", "ignore")
EQUIVALENT: dict[str, dict[str, str]] = {
    "billing.posting": {
        f'{kind}: Kind(-1, "revenue"), | 1 plus 1': "only the sign of a sign counts"
        for kind in ("HOLD", "SETTLE", "RELEASE")
    },
    "voice.connected_time": {
        "if verdict is None or VERDICT_STRENGTH[fact.verdict] > VERDICT_STRENGTH[verdict]: | Gt turned": (
            "as strong as it is only the same verdict"
        ),
    },
    "voice.settlement": {
        "duration_seconds=min(call.duration_seconds or 0, call.carrier_duration_seconds or 0), | 0 plus 1": (
            "what was charged for has lasted a second"
        ),
    },
    "voice.advance": {
        "return replace(call, status=status) if status.rank > call.status.rank else call | Gt turned": (
            "no two statuses that are not final have the same rank"
        ),
        "call.created_at, (call.ended_at or at) - 1000 * (call.carrier_duration_seconds or 0) | Or turned": (
            "what ended before was answered before: both are the same"
        ),
    },
    "voice.schedule": {
        f"due = max(call.final_stored_at or 0, call.asked_at or 0) + EXTRACTION_RETRY_MS | 0 plus 1{again}": (
            "one of the two is known of a call that has ended, and later than the first millisecond of 1970"
        )
        for again in ("", " (2)")
    },
}
"""Mutants that no test can notice, by module and as they are shown, and why."""
_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutator(ast.NodeTransformer):
    """Changes the `wanted`th place (None: none) and counts them.

    `what` then says what was done to which line, and for a repetition on that line the how manieth it is.
    """

    def __init__(self, wanted: int | None, lines: Sequence[str]) -> None:
        self._wanted, self._lines = wanted, lines
        self.count, self.what = 0, ""
        self._done: Counter[tuple[int, str]] = Counter()

    def _strikes(self, node: ast.AST, what: str) -> bool:
        self.count += 1
        number = getattr(node, "lineno", 1)
        self._done[number, what] += 1
        if self.count - 1 != self._wanted:
            return False
        again = self._done[number, what]
        self.what = f"{self._lines[number - 1].strip()} | {what}{f' ({again})' if again > 1 else ''}"
        return True

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.AnnAssign):  # annotations say nothing that runs
            if node.value is not None:
                node.value = self.visit(node.value)  # type: ignore[assignment]
            return node
        if isinstance(node, ast.FunctionDef):
            node.body = [self.visit(child) for child in node.body]  # type: ignore[misc]
            return node
        if isinstance(node, ast.ClassDef):
            node.body = [self.visit(child) for child in node.body]  # type: ignore[misc]
            return node
        if isinstance(node, ast.Assert):  # says what is true already
            return node
        return self._changed(self.generic_visit(node))

    def _changed(self, node: ast.AST) -> ast.AST:
        match node:
            case ast.Compare(ops=[op]) if type(op) in _OTHER and self._strikes(node, f"{type(op).__name__} turned"):
                node.ops = [_OTHER[type(op)]()]  # type: ignore[list-item]
            case ast.BinOp(op=op) if type(op) in _OTHER and self._strikes(node, f"{type(op).__name__} turned"):
                node.op = _OTHER[type(op)]()  # type: ignore[assignment]
            case ast.BoolOp(op=op) if self._strikes(node, f"{type(op).__name__} turned"):
                node.op = _OTHER[type(op)]()  # type: ignore[assignment]
            case ast.UnaryOp(op=ast.Not() | ast.USub()) if self._strikes(node, "sign or not left out"):
                return node.operand
            case ast.Constant(value=bool(value)) if self._strikes(node, f"{value} turned"):
                node.value = not value
            case ast.Constant(value=int(value)) if type(value) is int and self._strikes(node, f"{value} plus 1"):
                node.value = value + 1
            case ast.Call(func=ast.Name(id=name)) if name in _NAMES and self._strikes(node, f"{name} turned"):
                node.func = ast.Name(_NAMES[name], ast.Load())
            case ast.If(test=test) | ast.IfExp(test=test) if self._strikes(node, "condition turned"):
                node.test = ast.UnaryOp(ast.Not(), test)
            case ast.Return(value=ast.Constant(value=None | False)):
                pass  # nothing, or as good as nothing, is left out already
            case ast.Return(value=ast.expr()) if self._strikes(node, "result left out"):
                node.value = ast.Constant(None)
        return node


def mutant(module: str, number: int | None) -> tuple[ast.Module, Mutator]:
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    tree, mutator = ast.parse(source), Mutator(number, source.splitlines())
    changed = mutator.visit(tree)
    for node in ast.walk(tree):
        assert isinstance(changed, ast.Module)
        ast.fix_missing_locations(node)
    return tree, mutator


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant where the module is asked for."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._module, self._tree = module, tree

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self._module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._module, "exec"), module.__dict__)


def survives(module: str, tree: ast.Module) -> bool:
    """Whether the module's tests pass with the mutant in its place."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(_tested(module, tree))
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)  # it runs for ever: that would be noticed
    os.waitpid(child, 0)
    return False


def _tested(module: str, tree: ast.Module) -> int:
    import pytest

    sys.meta_path.insert(0, _Finder(module, tree))
    try:
        files = [str(ROOT / "tests" / name) for name in TESTS[module]]
        conftest = [] if module in NEED_DATABASES else ["--noconftest"]
        return int(pytest.main([*OPTIONS, *conftest, *files]))
    except BaseException:
        return 1


def survivors(module: str, counts: Counter[str]) -> Iterator[str]:
    original, mutator = mutant(module, None)
    if not survives(module, original):
        raise SystemExit(f"the tests of {module} fail as it stands")
    for number in range(mutator.count):
        tree, made = mutant(module, number)
        counts["mutants"] += 1
        if made.what in EQUIVALENT.get(module, {}):
            counts["equivalent"] += 1
        elif survives(module, tree):
            counts["survived"] += 1
            yield f"{module} {made.what}"


def main() -> int:
    import hypothesis.stateful  # what all need is loaded once, before the forks
    import sqlalchemy.ext.asyncio  # noqa: F401

    no_shrinking = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=no_shrinking, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTEST_PLUGINS"] = ",".join(PLUGINS)
    for plugin in PLUGINS:
        importlib.import_module(plugin)
    gc.freeze()
    total: Counter[str] = Counter()
    if unknown := set(sys.argv[1:]) - set(TESTS):
        sys.exit(f"usage: python -m tests.mutations [MODULE …]; no such module: {', '.join(sorted(unknown))}")
    for module in sys.argv[1:] or TESTS:
        counts: Counter[str] = Counter()
        for survivor in survivors(module, counts):
            print(f"  survived: {survivor}", flush=True)
        print(f"{module}: {_figures(counts)}", flush=True)
        total += counts
    print(f"all: {_figures(total)}")
    return 1 if total["survived"] else 0


def _figures(counts: Counter[str]) -> str:
    killed = counts["mutants"] - counts["equivalent"] - counts["survived"]
    equivalent, survived = counts["equivalent"], counts["survived"]
    return f"{counts['mutants']} mutants, {killed} killed, {equivalent} equivalent, {survived} survived"


if __name__ == "__main__":
    sys.exit(main())
