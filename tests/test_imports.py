"""The arrows between rooms: who imports whom, read from the source."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lightning_modules", "datamodules", "experiments")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
}


# Floors of experiments/, from the ground up; commands, which are files, stand on top of them.
FLOORS = (
    {"command", "statistics"},
    {"records"},
    {"inference", "logging"},
    {"training"},
    {"scoring", "benchmarks"},
    {"cells", "matting"},
    {"reporting"},
)


def imports(module: str) -> set[str]:
    """Modules of this project that a module imports, in functions too."""
    found: set[str] = set()
    for node in ast.walk(_source(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= MODULES.keys() else {*names, node.module}
    # Importing a module imports its package first; its own package is under way already.
    found |= {package for name in found if not module.startswith(package := name.rpartition(".")[0])}
    return found & MODULES.keys() - {module}


def _executed(node: ast.AST) -> list[ast.AST]:
    """All nodes outside functions, whose imports run later, and of what only type checkers read."""
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    inner = [] if function or for_types else ast.iter_child_nodes(node)
    return [node, *(deeper for child in inner for deeper in _executed(child))]


def _named(nodes: Iterable[ast.AST]) -> set[str]:
    """All names that these nodes import from."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def anywhere(module: str) -> set[str]:
    """All names that a module imports, in functions too."""
    return _named(ast.walk(_source(module)))


def at_once(module: str) -> set[str]:
    """All names that a module imports as it is imported itself."""
    return _named(_executed(_source(module)))


def _source(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("lightning_modules")])
def test_lightning_modules_take_only_the_batch_type_from_data(module: str) -> None:
    foreign = {name for name in anywhere(module) if name.startswith(("datamodules", "experiments"))}
    assert foreign <= {"datamodules.batch"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("datamodules")])
def test_data_knows_neither_nets_nor_experiments(module: str) -> None:
    assert not {name for name in anywhere(module) if name.startswith(("lightning_modules", "experiments"))}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("lightning_modules.nets")])
def test_nets_are_plain_torch(module: str) -> None:
    forbidden = ("lightning.", "hydra", "omegaconf", "wandb", "lightning_modules.module", "lightning_modules.losses")
    assert not {name for name in anywhere(module) if name.startswith(forbidden)}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("experiments")])
def test_configs_are_read_in_experiments_only(module: str) -> None:
    assert not {name for name in anywhere(module) if name.split(".")[0] in ("hydra", "omegaconf")}


def floor_of(module: str) -> int:
    """Of a module of experiments/."""
    room = module.split(".")[1]
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.count(".") == 2 and name.startswith("experiments")]
)
def test_a_room_of_experiments_imports_only_those_below(module: str) -> None:
    room = module.rpartition(".")[0]
    others = {name for name in anywhere(module) if name.startswith("experiments.") and not name.startswith(room)}
    assert not {name for name in others if floor_of(name) >= floor_of(module)}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("lightning_modules.objectives")])
def test_objectives_know_no_training_loop(module: str) -> None:
    assert "lightning_modules.module" not in anywhere(module)


def test_optional_packages_are_imported_where_they_are_used() -> None:
    late = {"decord", "av", "wandb", "albumentations", "cv2"}
    for module in MODULES:
        names = {name.split(".")[0] for name in at_once(module)}
        assert not names & late, f"{module} imports {names & late} at import time"


@pytest.mark.parametrize("command", ["report", "run", "status", "sweep"])
def test_a_command_that_starts_cells_or_reads_records_does_not_wait_for_torch(command: str) -> None:
    found, new = set[str](), {f"experiments.{command}"}
    while new:
        found |= new
        named = set[str]().union(*map(at_once, new & MODULES.keys()))
        packages = {name.rpartition(".")[0] for name in named}
        new = (named | packages) - found
    assert not found & {"torch", "lightning", "lightning.pytorch", "torchmetrics", "torchvision"}


def test_no_import_cycle_in_functions_either() -> None:
    graph = {module: imports(module) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' → '.join((*trail[trail.index(module) :], module))}"
        if module not in done:
            for needed in graph[module]:
                visit(needed, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


# What uses a net without knowing which one it is; objectives know their own.
USERS_OF_NETS = [name for name in MODULES if name.startswith("experiments") or name == "lightning_modules.module"]


def is_net(node: ast.AST) -> bool:
    """Whether an expression is a net, by its name: `net`, `untrained`, `self.net`, …"""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lower() in ("net", "nets", "variant", "untrained", "onnxnet")


@pytest.mark.parametrize("module", USERS_OF_NETS)
def test_nobody_asks_which_net_it_is(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    asked = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.endswith("__")
            and is_net(node.value)
        )
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "hasattr", "getattr", "setattr", "type", "vars")
            and is_net(node.args[0])
        )
    ]
    classes = {name for name in imports(module) if name.startswith("lightning_modules.nets.")} & {
        f"lightning_modules.nets.{name}"
        for name in ("modnet_flow", "modnet_v", "rvm", "context_motion", "background_matting", "segmentation")
    }
    assert not asked
    assert not classes
