"""What a pickle describes, read without running any of it.

Python's `pickle` calls whatever a file asks for. Here a class is a `Name` and a call is a `Call`: data
that nothing acts on. Time and memory are bounded by the length of the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

MOST_OPERATIONS = 2_000_000
"""A checkpoint with 1,000 tensors and their optimizer's state takes 200,000; each takes up to 150 bytes of memory."""

_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_DICTS = ("collections.OrderedDict", "collections.Counter", "collections.defaultdict", "builtins.dict")


@dataclass(frozen=True, eq=False, repr=False)
class Name:
    """A class or a function, by its module and name."""

    text: str


@dataclass(frozen=True, eq=False, repr=False)
class Call:
    """An object that unpickling would have made by calling something."""

    callee: Any
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Outside:
    """What is stored beside the pickle, by the id that the pickle gives it: a tensor's numbers."""

    id: Any


@dataclass(frozen=True, eq=False, repr=False)
class OtherKey:
    """A dictionary's key that is no text. Only its spelling is kept, since hashing strange keys can take for ever."""

    spelling: str

    def __str__(self) -> str:
        return self.spelling


class UnknownNameError(ValueError):
    """A pickle asks for a class or a function that is none of those allowed."""


def read(file: IO[bytes], allowed: Callable[[str], bool], outside: list[Any] | None = None) -> Any:
    """The object in the pickle that begins where `file` stands, up to its end mark.

    `allowed` tells which classes and functions, as `module.name`, may be asked for; any other raises
    `UnknownNameError`. What is no pickle raises `ValueError`. `outside` gets the ids of all that is
    stored beside the pickle.
    """
    try:
        return _run(file, _Machine(allowed, [] if outside is None else outside))
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its pickle is broken") from error


def _run(file: IO[bytes], machine: _Machine) -> Any:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MOST_OPERATIONS:
            raise ValueError(f"its pickle takes more than {MOST_OPERATIONS:,} operations; save the state dict alone")
        if opcode.name in _LITERALS:
            machine.stack.append(argument)
        else:
            _ACTIONS[opcode.name](machine, argument)
    return machine.stack.pop()


class _Machine:
    """The stack machine of a pickle: objects in the making, marks that delimit them, and a memory."""

    def __init__(self, allowed: Callable[[str], bool], outside: list[Any]) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.allowed = allowed
        self.outside = outside
        self.copied = 0

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop(self, _: Any = None) -> Any:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
            return None
        return self.stack.pop()

    def name(self, module: str, name: str) -> None:
        text = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if not self.allowed(text):
            raise UnknownNameError(text)
        self.stack.append(Name(text))

    def stack_name(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a class whose name is no text")
        self.name(module, name)

    def call(self, callee: Any, arguments: Any) -> None:
        """Push a `Call`, or a dictionary where one of `_DICTS` is called; nothing is ever called."""
        # A list is never copied for it: one and the same may be the argument of a million calls.
        arguments = arguments if isinstance(arguments, tuple) else ()
        if not isinstance(callee, Name) or callee.text not in _DICTS:
            self.stack.append(Call(callee, arguments))
            return
        entries: dict[Any, Any] = {}
        # Python 2 wrote an OrderedDict as a list of pairs.
        if arguments and isinstance(arguments[0], list):
            self.copied += len(arguments[0])
            if self.copied > MOST_OPERATIONS:
                raise ValueError(f"its pickle copies more than {MOST_OPERATIONS:,} entries")
            entries.update((_key(pair[0]), pair[1]) for pair in arguments[0])
        self.stack.append(entries)

    def reduce(self, _: Any) -> None:
        arguments, callee = self.stack.pop(), self.stack.pop()
        self.call(callee, arguments)

    def new_with_keywords(self, _: Any) -> None:
        self.stack.pop()
        self.reduce(None)

    def instance(self, argument: str) -> None:
        arguments = self.since_mark()
        self.name(*argument.split(" ", 1))
        self.call(self.stack.pop(), tuple(arguments))

    def instance_of(self, _: Any) -> None:
        callee, *arguments = self.since_mark()
        self.call(callee, tuple(arguments))

    def refer(self, id_: Any) -> None:
        self.outside.append(id_)
        self.stack.append(Outside(id_))

    def append(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(_dict(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("stack underflow")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)


def _key(value: Any) -> str | OtherKey:
    if isinstance(value, str):
        return value
    plain = value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and value.bit_length() < 64)
    return OtherKey(str(value) if plain else f"a {type(value).__name__}")


def _nothing(machine: _Machine, argument: Any) -> None:
    """PROTO and FRAME tell how the pickle was written; STOP ends it."""


def _pushing(value: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _pushing_since_mark(value: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def action(machine: _Machine, _: Any) -> None:
        items = machine.since_mark()
        machine.stack.append(value(items))

    return action


def _dict(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("its pickle is broken: a key without a value")
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def _remember(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _recall(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _two(machine: _Machine) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": _nothing, "FRAME": _nothing, "STOP": _nothing,
    "NONE": _pushing(lambda: None), "NEWTRUE": _pushing(lambda: True), "NEWFALSE": _pushing(lambda: False),
    "EMPTY_LIST": _pushing(list), "EMPTY_DICT": _pushing(dict), "EMPTY_TUPLE": _pushing(tuple),
    # Sets are not built, nothing in a state dict is one: their members would have to be hashed.
    "EMPTY_SET": _pushing(lambda: Call(Name("builtins.set"))),
    "FROZENSET": _pushing_since_mark(lambda items: Call(Name("builtins.frozenset"))),
    "ADDITEMS": lambda machine, _: machine.since_mark(),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "LIST": _pushing_since_mark(list), "TUPLE": _pushing_since_mark(tuple), "DICT": _pushing_since_mark(_dict),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(_two(machine)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "PUT": _remember, "BINPUT": _remember, "LONG_BINPUT": _remember, "MEMOIZE": _remember,
    "GET": _recall, "BINGET": _recall, "LONG_BINGET": _recall,
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce, "NEWOBJ_EX": _Machine.new_with_keywords,
    "INST": _Machine.instance, "OBJ": _Machine.instance_of,
    # An object's state: that of a state dict is its `_metadata`, that of others nothing here reads.
    "BUILD": lambda machine, _: machine.stack.pop(),
    "PERSID": _Machine.refer,
    "BINPERSID": lambda machine, _: machine.refer(machine.stack.pop()),
}  # fmt: skip
