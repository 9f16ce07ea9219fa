"""What can go wrong through no fault of the program."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Keys: TypeAlias = tuple[str | int, ...]
"""Where something stands in a file: names, and places in lists."""

DEVICES = ("auto", "cuda", "cpu")
"""What `device:` and `--device` may be."""

_KEYS, _NUMBER = "expected keys with values, such as {key: value}", "expected a number"
_WHOLE, _TRUTH = "expected a whole number", "expected true or false"
_EXPECTED = {
    "tuple_type": "expected a list of steps, such as [prune: 0.5, recover]",
    "model_type": _KEYS,
    "dict_type": _KEYS,
    "dataclass_type": _KEYS,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "string_type": "expected text",
}
_WHOLE_TEXTS = {
    "missing": "is missing",
    "unexpected_keyword_argument": "an unknown key",
    "value_error": "",
    "said": "",
}
"""Of kinds of problems that say all themselves; empty where their message does."""
_LIMITS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
_OF_LIMITS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


_MEANT = {
    "detector detectors architecture": "model models network networks backbone arch net detector detectors",
    "frames datasets path": "dataset datasets data frame frames images faces sets",
    "experiments": "experiment runs benchmarks",
    "variants": "variant models candidates compression",
    "weights": "checkpoint checkpoints ckpt model_path weight pretrained state_dict file path",
    "preprocessing": "preprocess transform transforms preset normalize normalization input",
    "path": "folder root dir directory manifest file location",
    "source_pattern": "pattern regex source sources video",
    "validation": "val valid dev",
    "calibration": "calib cal calibrate",
    "train": "training",
    "device": "gpu cuda accelerator",
    "threads": "workers num_threads num_workers cores cpus",
    "runtime": "backend engine provider executor",
    "threshold": "cutoff cut_off operating_point",
    "fpr": "false_positive_rate far fp_rate",
    "fnr": "false_negative_rate frr fn_rate miss_rate",
    "seed": "random_seed random_state",
    "gates": "limits checks",
    "amount": "ratio rate sparsity share fraction",
    "learning_rate": "lr",
    "steps": "epochs iterations",
}
"""What other tools, and people, call what is meant, by what it is called here."""

_WORDS_OF_YAML = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""What is no text in YAML without quotes."""


class UserError(Exception):
    """Bad input. The message names file, line or key, what was found, what was expected, what to do.

    Each of `lines` is one line of the message, whatever the names in it hold: a name with a line break in it
    cannot make a line of its own, nor a command for whoever reads the output.
    """

    def __init__(self, *lines: str) -> None:
        self.lines = tuple(map(on_one_line, lines))
        super().__init__(*self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def on_one_line(text: str) -> str:
    r"""The text with `\n`, `\x1b`, `\u2028` in place of what breaks lines, steers a terminal, or cannot be seen.

    Escaped are control and format characters (which turn the direction of writing, or have no width), separators,
    halves of characters, and what is none yet.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def printable(text: str) -> str:
    """Text whose every character can be written: bytes of a file's name that are no UTF-8 as `\\xff`."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown(name: str, most: int = 200) -> str:
    """A name from outside as messages show it: on one line, without control characters, at most so long."""
    text = on_one_line(name[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quoted(value: object) -> str:
    """Text in quotes as messages show it."""
    return shown(repr(value))


def refuse_address(file: str) -> str:
    """The name of a file; `ValueError` where it is an address on a network."""
    if "://" in file:
        raise ValueError(f"{quoted(file)} is an address; expected a file here: download it and give the path")
    return file


def refuse_together(
    where: Callable[..., str], problems: Iterable[tuple[Keys, str | UserError]], *, first: Iterable[str] = ()
) -> None:
    """Raise all problems in one `UserError`, a line each, after the lines of `first`, which stand in no file.

    Each has its keys, whose place `where` tells. What is wrong with a variant of several detectors is one problem.
    """
    lines = list(first)
    texts = ((keys, problem.lines if isinstance(problem, UserError) else (problem,)) for keys, problem in problems)
    for keys, (line, *further) in dict.fromkeys(texts):
        lines += [f"{where(*keys)}: {line}", *further]
    if lines:
        raise UserError(*lines)


def as_value_error(call: Callable[[], object]) -> object:
    """What a check gives, its `UserError` as the `ValueError` that pydantic collects, with where it arose."""
    try:
        return call()
    except UserError as error:
        raise ValueError(str(error)) from error


def problems_of(keys: Keys, check: Callable[[], object]) -> Iterator[tuple[Keys, UserError]]:
    """What a check refuses, if it does, with the keys that it looks at."""
    try:
        check()
    except UserError as error:
        yield keys, error


def problem_text(problem: Mapping[str, Any]) -> str:
    """One of pydantic's problems as a person wants it: what was expected, what was found, a hint."""
    if problem["type"] in _WHOLE_TEXTS:
        return expected(problem)
    return f"{expected(problem)}, found {in_yaml(problem['input'])}"[:400] + _hint(problem)


def expected(problem: Mapping[str, Any]) -> str:
    """What was expected, in the words of every other message: pydantic's for kinds that are seldom met."""
    kind, message = problem["type"], str(problem["msg"])
    if kind in _WHOLE_TEXTS:
        return _WHOLE_TEXTS[kind] or message.removeprefix("Value error, ")
    if limit := _LIMITS.get(kind):
        return f"{_NUMBER} {_OF_LIMITS[limit]} {problem['ctx'][limit]:.15g}"
    return _EXPECTED.get(kind) or message.replace("Input should be", "expected", 1)


def _hint(problem: Mapping[str, Any]) -> str:
    value, message = problem["input"], problem["msg"]
    if problem["type"] == "literal_error":
        return nearest(str(value), re.findall(r"'([^']+)'", message))
    most = (problem.get("ctx") or {}).get(_LIMITS.get(problem["type"], ""), math.inf)
    if type(value) in (int, float) and most <= 1 < value <= 100:
        return f" (a share, not per cent: write {value / 100:g})"
    if not isinstance(value, str) or not re.search("valid (number|integer)", message):
        return ""
    return _hint_of_number(value, is_whole="integer" in message)


def _hint_of_number(text: str, *, is_whole: bool) -> str:
    """How a number is written that YAML took for text."""
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return " (decimals take a point, not a comma)"
    if unit := re.fullmatch(r"([+-]?\d+(?:\.\d+)?) ?(%|[A-Za-z]+)", text):
        return f" (write {float(unit[1]) / 100:g} for {unit[1]} %)" if unit[2] == "%" else f" (write {unit[1]} alone)"
    power = re.fullmatch(r"([+-]?\d+)(\.\d*)?e([+-]?)(\d+)", text, re.IGNORECASE)
    if power is None:
        return ""
    if is_whole:
        return " (YAML reads that as text: write all digits)"
    whole, part, sign, exponent = power.groups()
    return f" (YAML reads that as text: write {whole}{part or '.0'}e{sign or '+'}{exponent})"


def in_yaml(value: object) -> str:
    """A value on one line as YAML spells it; text in quotes."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(str(key))}: {in_yaml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(in_yaml, value))}]"
    return quoted(value) if isinstance(value, (str, bytes)) else shown(str(value))


def no_boolean(value: object) -> object:
    """YAML 1.1 reads yes, no, on and off as truth values, and Python takes those for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, found {in_yaml(value)}")
    return value


def plain_yaml(text: str) -> str:
    """Text as one would write it in YAML: without quotes where it needs none."""
    is_plain = re.fullmatch(r"[A-Za-z_][\w./-]*", text, re.ASCII) and text.casefold() not in _WORDS_OF_YAML
    return shown(text if is_plain else json.dumps(text, ensure_ascii=False))


def no_device(device: object) -> str:
    """What is said of a device that is neither auto, cuda nor cpu."""
    word = str(device).strip().casefold()
    number = re.fullmatch(r"(?:(?:cuda|gpu)[ :]?)?(\d*)", word)
    if number and word not in ("", "cuda"):
        return (
            f"{in_yaml(device)} is no device here: write `device: cuda`, and choose the GPU by an environment "
            f"variable: `CUDA_VISIBLE_DEVICES={number[1] or '1'} bench run …`"
        )
    return f"expected auto, cuda or cpu, found {in_yaml(device)}{nearest(str(device), DEVICES)}"


def resolve_path(base: Path, path: str) -> Path:
    """A path as a person writes it: relative to `base`, `~` for a home folder; an unknown `~name` stays."""
    return base / os.path.expanduser(path)  # noqa: PTH111 - that of Path raises where there is no such person


def is_unicode(text: str) -> bool:
    """Whether files can hold it: half of a surrogate pair, from an escape or a file's name, is no character."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def nearest(name: str, choices: Iterable[str], synonyms: Mapping[str, str] = _MEANT) -> str:
    """A hint, " (did you mean 'x'?)" for the choice closest to `name`, or nothing.

    `synonyms` has words that other tools use, by the choices that they mean.
    """
    spelled = {choice.casefold(): choice for choice in choices}
    word = name.casefold()
    meant = (key for keys, others in synonyms.items() if word in others.split() for key in keys.split())
    if synonym := next((key for key in meant if key in spelled and key != word), None):
        return f" (did you mean {quoted(spelled[synonym])}?)"
    close = difflib.get_close_matches(name.casefold(), list(spelled), n=1, cutoff=0.5)
    return f" (did you mean {quoted(spelled[close[0]])}?)" if close else ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """How many of what: "1 frame", "1,200 frames"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def listed(items: Iterable[object], most: int = 10) -> str:
    """The first `most` items as messages show them, comma-separated, and how many more there are."""
    everything = [shown(str(item)) for item in items]
    more = f" … and {len(everything) - most} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
