"""Finds models (`cnn`, `package.module:NAME`, `./file.py:NAME`) and data (`imagefolder:PATH`).

A `ModelRef` is what travels to the workers instead of live objects: a few strings, and the
sources of the user's own code for nodes that do not see the user's disk.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hpo.errors import SpecError
from hpo.habits import studies_at_import
from hpo.model import Data, FunctionModel, Model, Split
from hpo.objectives import declared_objective
from hpo.place import place_of
from hpo.reading import PICTURES, Look, reading_of, with_reading
from hpo.spelling import declaration, no_data, no_model
from hpo.spelling import unknown as unknown

MAIN = "__main__"
"""Module of what a script or a notebook defines."""
USER_MODULE = "hpo_user_"
"""Begins the name under which a user's file is imported: a digest, and its own name, follow."""
MODELS: dict[str, str] = {
    "cnn": "hpo_models.cnn:CNN",
    "rnn": "hpo_models.rnn:RNN",
    "vae": "hpo_models.vae:VAE",
    "gan": "hpo_models.gan:GAN",
    "ssl-image": "hpo_models.ssl_image:SSLImage",
    "ssl-text": "hpo_models.ssl_text:SSLText",
    "cross-lingual": "hpo_models.cross_lingual:CrossLingual",
    "captioner": "hpo_models.captioner:Captioner",
    "retrieval": "hpo_models.retrieval:Retrieval",
    "finetune": "hpo_models.finetune:Finetune",
    "finetune-image": "hpo_models.finetune_image:FinetuneImage",
}
DATASETS: dict[str, str] = {
    "digits": "hpo_models.datasets.digits:load",
    "mnist": "hpo_models.datasets.torchvision_sets:load_mnist",
    "fashionmnist": "hpo_models.datasets.torchvision_sets:load_fashionmnist",
    "cifar10": "hpo_models.datasets.torchvision_sets:load_cifar10",
    "imagefolder": "hpo_models.datasets.imagefolder:load",
    "npz": "hpo_models.datasets.npz:load",
    "surnames": "hpo_models.datasets.surnames:load",
    "csv": "hpo_models.datasets.csv_texts:load",
    "topics": "hpo_models.datasets.topics:load",
    "cldr": "hpo_models.datasets.cldr:load",
    "cldr-things": "hpo_models.datasets.cldr:load_things",
    "icons": "hpo_models.datasets.icons:load",
    "icons-common": "hpo_models.datasets.icons:load_common",
    "captions": "hpo_models.datasets.captions:load",
    "hf": "hpo_models.datasets.hugging_face:load",
}
_ALIKE = "hpo_models.datasets.alike"
FORMS = ("imagefolder", "npz", "csv", "captions", "hf")
"""Kinds of data that need a path or an id: a user's own."""
_MAX_SOURCE_BYTES = 10_000_000


@dataclass(frozen=True)
class ModelRef:
    """Where a model is found, on this machine and on workers elsewhere.

    Attributes:
        name: as the user wrote it, with an absolute path for a file.
        root: folder to import user code from, '' for installed code.
        module: module name, relative to `root` for user code.
        attribute: class or function in that module.
        sources: relative path -> text of the user's files; empty for installed code.
        pickled: the model itself, where it was given as an object; else empty.
    """

    name: str
    root: str
    module: str
    attribute: str
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    pickled: bytes = field(default=b"", repr=False)

    @property
    def label(self) -> str:
        """Short form for study names: `cnn`, `mine-Net`."""
        if self.name in MODELS:
            return self.name
        if self.name.startswith(f"{MAIN}:"):
            return self.attribute
        return f"{self.module.rsplit('.', 1)[-1]}-{self.attribute}"

    @property
    def code(self) -> str:
        """Digest of the model's file and of the files beside it that it imports; '' if installed.

        Two people's checkouts of one file have it in common.
        """
        if not self.sources:
            return ""
        wanted, used = [self.module.replace(".", "/")], dict[str, str]()
        while wanted:
            stem = wanted.pop()
            for name in (f"{stem}.py", f"{stem}/__init__.py"):
                if name in self.sources and name not in used:
                    used[name] = self.sources[name]
                    wanted += [m.replace(".", "/") for m in imported_modules(used[name])]
        return hashlib.sha256(repr(sorted(used.items())).encode()).hexdigest()[:16]


def imported_modules(source: str) -> set[str]:
    """Full names of the modules that a source file imports, itself or in its functions."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def find_model(name: str) -> ModelRef:
    """Resolves a model's name without importing it.

    Raises:
        SpecError: unknown name, missing file or malformed reference.
    """
    if name in MODELS:
        module, attribute = MODELS[name].split(":")
        return ModelRef(name, "", module, attribute)
    target, colon, attribute = name.rpartition(":")
    if target == MAIN or "<locals>" in attribute:
        raise SpecError(
            f"model: {name!r} was given to hpo.run as an object of Python: give it there again"
        )
    if not colon or not target or not attribute.isidentifier():
        raise SpecError(no_model(name.rstrip(":"), MODELS))
    if target.endswith(".py") or "/" in target:
        path = Path(target).expanduser().resolve()
        if not path.is_file():
            raise SpecError(f"model: no file {str(path)!r}: check the path before the colon")
        sources = sources_beside(path)
        return ModelRef(f"{path}:{attribute}", str(path.parent), path.stem, attribute, sources)
    return _find_in_package(name, target, attribute)


def _find_in_package(name: str, module: str, attribute: str) -> ModelRef:
    top = module.partition(".")[0]
    here = Path.cwd()
    if (here / f"{top}.py").is_file() or (here / top).is_dir():
        local = (here / Path(*module.split("."))).with_suffix(".py")
        package = here / Path(*module.split(".")) / "__init__.py"
        if local.is_file() or package.is_file():
            files = _sources_under(here / top) if (here / top).is_dir() else {}
            files = files or sources_beside(local)
            return ModelRef(name, str(here), module, attribute, files)
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise SpecError(
            f"model: no module {module!r} here or installed: "
            f"check the name, or give the file as ./file.py:{attribute}"
        )
    return ModelRef(name, "", module, attribute)


def sources_beside(path: Path) -> dict[str, str]:
    """Text of the file and the Python files next to it, which it may import."""
    return _read_sources([path, *sorted(path.parent.glob("*.py"))], path.parent)


def _sources_under(package: Path) -> dict[str, str]:
    return _read_sources(sorted(package.rglob("*.py")), package.parent)


def _read_sources(files: list[Path], root: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    total = 0
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        total += len(text)
        if total > _MAX_SOURCE_BYTES:
            break
        sources[str(file.relative_to(root))] = text
    return sources


def load_model(ref: ModelRef) -> Model:
    """Imports the model, here or on a worker.

    Raises:
        SpecError: it cannot be imported or is not a model.
    """
    if ref.pickled:
        return _checked(ref, _unpickled(ref))
    module = _import_users(ref)
    found = getattr(module, ref.attribute, None)
    if found is None:
        names = [n for n, v in vars(module).items() if _is_model(v)]
        choices = unknown("model", ref.attribute, names) if names else "it holds no model"
        raise SpecError(f"model: {ref.name!r}: no {ref.attribute!r} in that file: {choices}")
    return _checked(ref, found)


def _unpickled(ref: ModelRef) -> Any:
    """A model that was given as an object; modules beside its file can be imported."""
    import pickle

    root = Path(ref.root)
    if not _sees(root, ref.sources):
        root = _lay_out(ref.sources, ref.code)
    if str(root) not in sys.path:
        sys.path.append(str(root))
    model = pickle.loads(ref.pickled)
    model.source = hashlib.sha256(ref.pickled).hexdigest()
    return model


def _checked(ref: ModelRef, found: Any) -> Model:
    """The model that an object declares.

    Raises:
        SpecError: it declares none, or not all of it.
    """
    if isinstance(found, type) and issubclass(found, Model):
        found = found()
    declared = getattr(found, "hpo_model", found)
    if not isinstance(declared, Model):
        raise SpecError(
            f"model: {ref.name!r} is {type(found).__name__}: it must be a subclass of hpo.Model "
            f"or a function declared with {declaration(found)}"
        )
    for part in ("space", "objective"):
        if not hasattr(declared, part):
            raise SpecError(f"model: {ref.name!r} declares no `{part}`: see `hpo.Model`")
    declared.objective = declared_objective(declared.objective)  # type: ignore[misc]
    return declared


def _import_users(ref: ModelRef) -> ModuleType:
    """Imports what may do anything at import, as a script does; it sees no arguments of ours.

    Raises:
        SpecError: it raised, or ended the program.
    """
    argv = sys.argv
    sys.argv = [str(Path(ref.root, *ref.module.split(".")).with_suffix(".py"))]
    try:
        return _import(ref)
    except (SpecError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if hasattr(error, "ray_terminate_msg"):  # Ray ends this worker
            raise
        place = place_of(error, root=ref.root, module=ref.module, sources=ref.sources)
        where = f"{place}: " if place else ""
        raise SpecError(f"model: importing {ref.name!r} failed: {where}{_said(error)}") from error
    finally:
        sys.argv = argv


def _said(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "msg", None) or error).split())[:500]
    said = f"{type(error).__name__}: {text}".removesuffix(": ")
    if isinstance(error, SystemExit):
        return (
            f"{said}: the file ends the program while it is imported: put what only a script is "
            'to do under `if __name__ == "__main__":`'
        )
    if isinstance(error, ModuleNotFoundError):
        return f"{said}: install it in the environment of hpo, or mend the import"
    return said


def _is_model(value: object) -> bool:
    from_model = isinstance(value, type) and issubclass(value, Model)
    return (from_model and value.__module__ != "hpo.model") or hasattr(value, "hpo_model")


_latest: tuple[ModelRef, ModuleType] | None = None
"""What a worker imports for one trial after another."""


def _import(ref: ModelRef) -> ModuleType:
    global _latest
    if not ref.root:
        return importlib.import_module(ref.module)
    if _latest and _latest[0] == ref and sys.modules.get(_latest[1].__name__) is _latest[1]:
        return _latest[1]
    module = _import_file(ref)
    _latest = ref, module
    return module


def _import_file(ref: ModelRef) -> ModuleType:
    digest = hashlib.sha256(repr(sorted(ref.sources.items())).encode()).hexdigest()[:16]
    root = Path(ref.root)
    if not _sees(root, ref.sources):  # a node without the user's disk: lay the sources out here
        root = _lay_out(ref.sources, digest)
    # Appended, not prepended: a user's own types.py must not hide the standard library's.
    if str(root) not in sys.path:
        sys.path.append(str(root))
    name = f"{USER_MODULE}{digest}.{ref.module}"
    if name in sys.modules:
        return sys.modules[name]
    path = root.joinpath(*ref.module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    if "." in ref.module:  # part of a package: its relative imports need the real name
        return importlib.import_module(ref.module)
    if found := studies_at_import(file.read_text(encoding="utf-8", errors="replace")):
        raise SpecError([f"model: {file.name}, {line}" for line in found])
    spec = importlib.util.spec_from_file_location(name.replace(".", "_"), file)
    if spec is None or spec.loader is None:
        raise SpecError(f"model: {str(file)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        sys.modules.pop(spec.name, None)
        raise
    return module


def _lay_out(sources: Mapping[str, str], digest: str) -> Path:
    """Writes sources to a folder of this user's, whole at once: workers may do it side by side."""
    root = Path(tempfile.gettempdir()) / f"hpo-code-{os.getuid()}-{digest}"
    draft = Path(tempfile.mkdtemp(prefix=f"{root.name}-"))
    for relative, text in sources.items():
        file = draft / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    try:
        draft.rename(root)
    except OSError:  # it is there already
        shutil.rmtree(draft, ignore_errors=True)
    owner = root.lstat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o022 or not _sees(root, sources):
        raise SpecError(f"model: {str(root)!r} is not as this service leaves it: remove it")
    return root


def _sees(root: Path, sources: Mapping[str, str]) -> bool:
    """Whether the user's files are on this machine as they were when the study was started."""
    try:
        return all(
            (root / relative).read_text(encoding="utf-8") == text
            for relative, text in sources.items()
        )
    except (OSError, UnicodeDecodeError):
        return False


def find_data(model: Model, name: str | None) -> str:
    """Resolves a data reference for a model: `digits`, `imagefolder:/absolute/path`, or 'own'.

    Raises:
        SpecError: unknown name, a form without a path, or data that the model does not take.
    """
    if name is None:
        if model.datasets:
            return model.datasets[0]
        if not isinstance(model, FunctionModel) and type(model).data is Model.data:
            raise SpecError(
                f"data: {type(model).__name__} names no `datasets` and has no `data(seed)` of its "
                "own: add one of them, or give --data"
            )
        return "own"
    kind, _, argument = name.partition(":")
    if name == "own":
        return name
    if kind not in DATASETS:
        raise SpecError(no_data(name, DATASETS))
    fitting = [form.removesuffix(":") for form in model.datasets]
    if fitting and kind not in fitting:
        raise SpecError(
            f"data: {name!r} does not fit {type(model).__name__}: choose from "
            f"{', '.join(model.datasets)}"
        )
    if kind not in FORMS:
        return kind
    argument, reading = reading_of(argument) if kind in PICTURES else (argument, None)
    path = Path(argument).expanduser()
    is_id = kind == "hf" and argument and not path.exists()  # of the hub
    if not is_id and (not argument or not path.exists()):
        raise SpecError(f"data: {name!r}: nothing at {str(path)!r}: write {kind}:PATH")
    reference = f"{kind}:{argument if is_id else path.resolve()}"
    return reference if reading is None else with_reading(reference, reading)


def look_at(reference: str) -> Look | None:
    """How much data there is and of what size, without reading it whole; None if that is unknown.

    Raises:
        SpecError: it cannot be read.
    """
    kind, _, argument = reference.partition(":")
    if kind not in DATASETS:
        return None
    module, function = DATASETS[kind].split(":")
    look = getattr(importlib.import_module(module), function.replace("load", "look", 1), None)
    found: Look | None = look(argument) if look is not None else None
    return found


@functools.lru_cache(maxsize=2)
def _load_registered(reference: str, seed: int) -> Data:
    kind, _, argument = reference.partition(":")
    module, function = DATASETS[kind].split(":")
    data: Data = getattr(importlib.import_module(module), function)(argument, seed)
    return data


_own: dict[tuple[str, str, int], Data | None] = {}


def load_data(model: Model, reference: str, seed: int) -> Data | None:
    """The data set as tensors, loaded once per process; None if the model brings its own.

    Args:
        reference: from `find_data`.
        seed: of the split into training, validation and test.
    """
    if reference != "own":
        return _load_registered(reference, seed)
    if isinstance(model, FunctionModel):
        return None
    # A notebook's cell may define a class of the same name again.
    key = (f"{type(model).__module__}.{type(model).__qualname__}", model.source, seed)
    if key not in _own:
        _own[key] = model.data(seed)
    return _own[key]


def as_trained(
    split: Split, info: Mapping[str, Any], trained: Mapping[str, Any], by_class: bool
) -> tuple[Split, list[str]]:
    """Rows of other data as a network takes them that `trained` was told of; what was changed.

    See `hpo_models.datasets.alike`.
    """
    found: tuple[Split, list[str]] = importlib.import_module(_ALIKE).as_trained(
        split, info, trained, by_class
    )
    return found


def texts_in(split: Split, info: Mapping[str, Any]) -> list[str] | None:
    """The rows' texts, if they hold any in one of the forms of the registered data."""
    found: list[str] | None = importlib.import_module(_ALIKE).texts(split, info)
    return found
