"""The house around the package: versions in step, imports one way, a quick and quiet `import geoae`."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PYPROJECT["dependency-groups"]

# Ground floor first; a room imports only from floors before its own.
FLOORS = (
    "files",
    "synth noise arrays metrics nn dist bound plot",
    "io model",
    "objective export",
    "train latent denoising",
    "demo",
    "cli",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
# A room is a file, or a folder of files once it has grown.
SOURCES = {path.stem: [path] for path in (ROOT / "geoae").glob("[!_]*.py")} | {
    path.parent.name: sorted(path.parent.rglob("*.py")) for path in (ROOT / "geoae").glob("[!_]*/__init__.py")
}
KNOWS_NO = {
    "torch": ["synth", "noise", "arrays", "metrics", "io", "plot"],
    "xarray": ["nn", "dist", "model", "objective"],
}


def _normal(name):
    """The name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(lines):
    """{package: version specifier}, extras dropped."""
    parts = (re.fullmatch(r"\s*([\w.-]+)(?:\[[^]]*\])?\s*(.*?)\s*", line).groups() for line in lines)
    return {_normal(name): specifier for name, specifier in parts}


def _constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return _requirements(line for line in lines if line and not line.startswith("#"))


def _imports(room):
    """Every module that a room imports, at its top or inside a function, as absolute names."""
    found = set()
    for path in SOURCES[room]:
        inside = ("geoae", *path.relative_to(ROOT / "geoae").parts[:-1])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = inside[: len(inside) + 1 - node.level] if node.level else ()
                package = ".".join([*above, *filter(None, [node.module])])
                found |= {package} | {f"{package}.{alias.name}" for alias in node.names}
    return found


def test_environment_and_pyproject_ask_for_the_same():
    wanted = PYPROJECT["project"]["dependencies"] + GROUPS["test"] + GROUPS["lint"] + GROUPS["book"]
    wanted = _requirements(wanted) | {"python": PYPROJECT["project"]["requires-python"]}
    wanted["pytorch"] = wanted.pop("torch")  # conda-forge's name for it

    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = _requirements(line for line in listed if isinstance(line, str))
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    given = conda | _requirements(line for line in pip if not line.startswith("--"))

    assert given.pop("pip") == ">=25.1"  # the first with dependency groups
    assert "--editable ." in pip
    assert given == wanted


@pytest.mark.parametrize("name", sorted(_requirements(PYPROJECT["project"]["dependencies"])))
def test_constraints_pin_every_dependency(name):
    assert re.fullmatch(r"==[\w.]+", _constraints()[name])


def test_constraints_pin_the_tools_too():
    tools = _requirements(GROUPS["test"] + GROUPS["lint"] + GROUPS["book"])
    assert not tools.keys() - _constraints().keys()


def test_notice_names_the_licence_of_every_dependency():
    rows = [line.split("|") for line in (ROOT / "NOTICE.md").read_text(encoding="utf-8").splitlines()]
    told = {
        name for row in rows if len(row) == 5 and row[2].strip() for name in re.findall(r"[\w-]+", row[1])
    }
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = _requirements(sum(extras, PYPROJECT["project"]["dependencies"])).keys() - {"geoae"}
    assert wanted <= told


def test_citation_has_the_version_and_licence_of_pyproject():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PYPROJECT["project"]
    assert (str(citation["version"]), citation["license"]) == (project["version"], project["license"])


@pytest.mark.parametrize("room", sorted(SOURCES))
def test_room_imports_only_from_floors_below(room):
    assert room in FLOOR, f"{room}.py is on no floor: give it one here and in ARCHITECTURE.md"
    imported = _imports(room)
    for other in {name.split(".")[1] for name in imported if name.startswith("geoae.")} & FLOOR.keys() - {
        room
    }:
        assert FLOOR[other] < FLOOR[room], (
            f"{room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"
        )
    for library, ignorant in KNOWS_NO.items():
        if room in ignorant:
            assert not any(name.split(".")[0] == library for name in imported), (
                f"{room} must not know {library}"
            )


def test_every_folder_of_the_package_is_installed():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "geoae").rglob("__init__.py")}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == {".".join(folder.parts) for folder in folders}


def test_import_is_quick_and_pulls_nothing_heavy():
    program = (
        "import sys, time; start = time.perf_counter(); import geoae; print(time.perf_counter() - start); "
        "print(*{'torch', 'obspy', 'matplotlib', 'xarray', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    seconds = []
    for _ in range(5):  # the fastest of several: a busy machine must not decide
        out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        took, heavy = out.stdout.split("\n")[:2]
        assert heavy == ""
        seconds.append(float(took))
    assert min(seconds) < 0.3


def test_denoising_loads_no_library_that_it_does_without():
    """SciPy's signal package and Matplotlib are 90 MB, a fifth of what two hours of a record take."""
    program = (
        "import sys, geoae, obspy; geoae.denoise(obspy.read()); "
        "print(*{'scipy.signal', 'matplotlib', 'dask', 'h5netcdf'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
