"""An interpreter for pickles that knows few opcodes, and only the names that it is given.

A pickle is a program for a stack machine. Python's own interpreter imports whatever a file names
and works without limit: some files of a hundred bytes keep it busy for years.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ivy_models.checkpoints.files import RefusedError
from ivy_models.errors import shown

MAX_OPCODES = 1_000_000
"""Upper bound on a file's opcodes, and on its names of arrays. Published files have thousands."""

_LITERALS = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    ]
)
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


@dataclass(frozen=True)
class StandIn:
    """Called in place of a function or class that a file names."""

    make: Callable[..., Any]


class Stateful:
    """An object whose state a file may set."""

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class Machine:
    """Runs one pickle.

    Parameters
    ----------
    stand_ins
        Objects by module and name. Only a :class:`StandIn` can be called.
    load
        Returns the object with a persistent id. If None, persistent ids are refused.
    """

    def __init__(
        self,
        stand_ins: Mapping[tuple[str, str], Any],
        load: Callable[[Any], Any] | None = None,
    ):
        self._stand_ins, self._load = stand_ins, load
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Return the object that a pickle describes.

        Raises
        ------
        RefusedError
            If it uses an unknown opcode or name, or too many opcodes.
        Exception
            Of any type, if the pickle is broken.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPCODES:
                raise RefusedError(f"it has more than {MAX_OPCODES:,} opcodes.")
            if opcode.name in _LITERALS:
                self._stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name]())
            else:
                step = getattr(self, f"_do_{opcode.name.lower()}", None)
                if step is None:
                    raise RefusedError(f"it uses the pickle opcode {opcode.name}.")
                step(argument)
        return self._stack.pop()

    # Opcodes without effect on the object

    def _do_proto(self, _version):
        pass

    def _do_frame(self, _size):
        pass

    def _do_stop(self, _):
        pass

    # Stack and memo

    def _do_mark(self, _):
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _do_pop(self, _):
        self._stack.pop()

    def _do_pop_mark(self, _):
        self._since_mark()

    def _do_memoize(self, _):
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_put(self, index):
        self._memo[int(index)] = self._stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_get(self, index):
        self._stack.append(self._memo[int(index)])

    _do_binget = _do_long_binget = _do_get

    # Containers

    def _do_tuple(self, _):
        self._stack.append(tuple(self._since_mark()))

    def _do_tuple1(self, _):
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _do_tuple2(self, _):
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _do_tuple3(self, _):
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _do_list(self, _):
        self._stack.append(self._since_mark())

    def _do_append(self, _):
        self._extend([self._stack.pop()])

    def _do_appends(self, _):
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise RefusedError("it appends to something that is not a list.")
        self._stack[-1].extend(values)

    def _do_dict(self, _):
        values = self._since_mark()
        self._stack.append(mapping_of(zip(values[::2], values[1::2], strict=True)))

    def _do_setitem(self, _):
        key, value = self._stack[-2:]
        del self._stack[-2:]
        self._set([(key, value)])

    def _do_setitems(self, _):
        values = self._since_mark()
        self._set(zip(values[::2], values[1::2], strict=True))

    def _set(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise RefusedError("it sets an item of something that is not a mapping.")
        self._stack[-1].update(mapping_of(pairs))

    # Opcodes by which Python's interpreter would run code

    def _do_global(self, names):
        self._find(*names.split(" ", 1))

    def _do_stack_global(self, _):
        module, name = self._stack[-2:]
        del self._stack[-2:]
        self._find(module, name)

    def _find(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("it asks for a name that is not text.")
        if (module, name) not in self._stand_ins:
            raise RefusedError(f"it asks for {shown(f'{module}.{name}')}.")
        self._stack.append(self._stand_ins[module, name])

    def _do_reduce(self, _):
        function, arguments = self._stack[-2:]
        del self._stack[-2:]
        if not isinstance(function, StandIn) or not isinstance(arguments, tuple):
            raise RefusedError("it calls something that is not a function.")
        self._stack.append(function.make(*arguments))

    _do_newobj = _do_reduce

    def _do_build(self, _):
        state = self._stack.pop()
        if not isinstance(self._stack[-1], Stateful):
            raise RefusedError("it sets the state of an object that has none.")
        self._stack[-1].set_state(state)

    def _do_binpersid(self, _):
        if self._load is None:
            raise RefusedError("it refers to an object outside the file.")
        self._stack.append(self._load(self._stack.pop()))


def mapping_of(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Make a dict of pairs. Keys must be text, because hashing other objects can take forever.

    Raises
    ------
    RefusedError
        If a key is not text.
    """
    mapping = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise RefusedError(f"it has a name that is not text: {shown(key)}.")
        mapping[key] = value
    return mapping
