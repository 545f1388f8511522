"""What is typed after a command: paths that begin with ~, flags of absl, the recipe that --config names."""

import difflib
import os
import re
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from absl import flags

from xgan_jax import config as configs
from xgan_jax.config import Config

_KINDS = {"int": "a whole number", "float": "a number", "bool": "True or False"}


def home(path: str) -> str:
    """A path as it is meant: shells leave the ~ in `--out=~/faces` and `face=~/photos` alone."""
    if path.startswith("tfds:"):
        return "tfds:" + os.path.expanduser(path.removeprefix("tfds:"))
    return os.path.expanduser(path)


def check_given(name: str, path: str | Sequence[str] | None) -> None:
    """Refuses an empty path, as of a shell's variable that is not set: it would be the folder one stands in.

    Raises:
      ValueError: `--name` has one.
    """
    if path == "" or (path is not None and not isinstance(path, str) and "" in path):
        raise ValueError(f"--{name} is empty: give a path.")


def expand_home(config: Config) -> None:
    """`home` of every setting that is a path: none but a path begins with ~."""
    for section in (config.data, config.networks, config.run):
        for name, value in vars(section).items():
            if isinstance(value, str):
                setattr(section, name, home(value))


def parse(argv: list[str]) -> list[str]:
    """absl's flags from a command line, for `app.run(main, flags_parser=parse)`; what is left of it.

    Raises:
      ValueError, FileNotFoundError: one sentence on a flag that is unknown, missing or of the wrong kind, or
        on the recipe.
    """
    argv = _with_home(argv)
    recipe = _value_of("config", argv)
    if recipe is not None and "config" in flags.FLAGS:
        _check_settings(load_recipe(recipe), argv)
    try:
        left: list[str] = flags.FLAGS(argv)
    except flags.Error as error:
        raise ValueError(_sentence(str(error))) from error
    given = flags.FLAGS.flag_values_dict()
    for name in ("workdir", "out", "data", "inception_weights"):
        check_given(name, given.get(name))
    return left


def _with_home(argv: Sequence[str]) -> list[str]:
    """`home` of every value, behind an = or a word of its own."""
    return [re.sub(r"^(--?[\w.]+=|)(~.*)$", lambda m: m[1] + home(m[2]), arg, flags=re.S) for arg in argv]


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    for arg, following in zip(argv, [*argv[1:], None], strict=True):
        name, equals, value = arg.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            return value if equals else following
    return None


def load_recipe(path: str) -> Config:
    """What `get_config` of the Python file `path` returns.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no recipe, or fails.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config {path} is no file: {_recipe_meant(path)}")
    loader = SourceFileLoader("recipe", path)
    module = ModuleType("recipe")
    module.__file__ = path
    try:
        loader.exec_module(module)
        made = module.get_config() if hasattr(module, "get_config") else None
    except SyntaxError as error:
        raise ValueError(f"{path} is no Python ({error.msg}, line {error.lineno}): mend it.") from error
    except Exception as error:
        raise ValueError(
            f"{path} fails ({type(error).__name__}: {' '.join(str(error).split())}): mend it; "
            "XGAN_TRACEBACK=1 shows the place."
        ) from error
    if not isinstance(made, Config):
        raise ValueError(
            f"{path} is no recipe: it needs a function get_config() that returns a Config, as "
            "configs/xgan.py has."
        )
    return made


def _recipe_meant(path: str) -> str:
    """The recipe of the nearest name beside the one that was given, or in `configs`."""
    for folder in (Path(path).parent, Path("configs")):
        names = {recipe.stem: recipe for recipe in folder.glob("*.py")}
        near = difflib.get_close_matches(Path(path).stem, names, 1)
        if near:
            return f"did you mean {names[near[0]]}?"
    return "give a recipe, for example configs/xgan.py."


def _check_settings(config: Config, argv: Sequence[str]) -> None:
    """Raises:
    ValueError: a flag names a setting that the recipe has not.
    """
    known = configs.flat(config)
    for arg in argv:
        found = re.match(r"--?(?:no)?config\.([^=]+)", arg)
        if found is None or found[1] in known:
            continue
        if any(name.startswith(found[1] + ".") for name in known):
            raise ValueError(
                f"--config.{found[1]} is a group of settings: set one, as --config.run.steps=1000."
            )
        raise ValueError(f"there is no setting config.{found[1]}: {_setting_meant(found[1], list(known))}")


def _setting_meant(name: str, known: Sequence[str]) -> str:
    """The nearest one, by its whole name or else by its last part, which is what people remember."""
    near = difflib.get_close_matches(name, known, 1, cutoff=0.75)
    if not near:
        last = {one.rpartition(".")[2]: one for one in reversed(known)}
        near = [last[one] for one in difflib.get_close_matches(name.rpartition(".")[2], last, 1)]
    if near:
        return f"did you mean --config.{near[0]}?"
    section = name.partition(".")[0]
    of_section = [one.rpartition(".")[2] for one in known if one.startswith(f"{section}.")]
    return (
        f"config.{section} has {', '.join(of_section)}." if of_section else "xgan_jax/config.py has them all."
    )


def _sentence(complaint: str) -> str:
    """absl's, for who does not know absl."""
    complaint = " ".join(complaint.split())
    found = re.match(r"flag --(\S+?)=(.*?): (.*)", complaint)
    if found is None:
        return complaint if complaint.endswith((".", "?")) else f"{complaint}."
    name, value, reason = found.groups()
    if name not in flags.FLAGS:
        return f"{complaint}."
    flag = flags.FLAGS[name]
    if "other than None" in reason:
        return f"--{name} is missing: {flag.help[0].lower()}{flag.help[1:]}"
    kind = _KINDS.get(flag.flag_type())
    if kind and re.search("literal|convert|boolean", reason):
        return f"--{name} is {value!r}: use {kind}."
    return f"--{name} is {value!r}: {reason}."
