"""The values in a pickle, read as data: Python's ``pickletools`` names its instructions, and this file follows the few
that build dictionaries, lists, numbers, bytes and arrays of unsigned bytes. No object is made, nothing is imported and
nothing called, whatever the file says.
"""

import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["read_pickle"]

_ARRAY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_CODECS = "_codecs encode"
_DTYPE = "numpy dtype"
_UNSIGNED_BYTES = ("u1", "uint8")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_OLD_STRINGS = ("STRING", "BINSTRING", "SHORT_BINSTRING")
"""Bytes of Python 2; ``pickletools`` gives them as text of the same code points."""


@dataclass(frozen=True)
class _Name:
    """What a pickle would import; here only its name."""

    text: str


@dataclass
class _Made:
    """What a pickle would make by a call; here what it says of it."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


class _Mark:
    pass


class _Reader:
    """The stack and the memory of a pickle's instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """What lies above the last mark, which goes with it."""
        k = len(self.stack) - 1
        while not isinstance(self.stack[k], _Mark):
            k -= 1
        above = self.stack[k + 1 :]
        del self.stack[k:]
        return above

    def follow(self, name: str, argument: Any) -> None:
        """Do one instruction; raises ``ValueError`` for those that data have no need of."""
        stack = self.stack
        match name:
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _ if name in _LITERALS:
                stack.append(argument)
            case _ if name in _OLD_STRINGS:
                stack.append(argument.encode("latin-1"))
            case "GLOBAL":
                stack.append(_Name(argument))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_Name(f"{module} {attribute}"))
            case "MARK":
                stack.append(_Mark())
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "DICT" | "LIST":
                items = self.since_mark()
                stack.append(items if name == "LIST" else dict(zip(items[::2], items[1::2], strict=True)))
            case "APPEND" | "SETITEM" | "APPENDS" | "SETITEMS":
                self._fill(name)
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memory[argument] = stack[-1]
            case "MEMOIZE":
                self.memory[len(self.memory)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memory[argument])
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                raise ValueError(f"it holds the instruction {name}, which data have no need of")

    def _fill(self, name: str) -> None:
        """Put values into the list or dictionary below them."""
        many = name.endswith("S")
        values = self.since_mark() if many else [self.stack.pop() for _ in range(1 if name == "APPEND" else 2)][::-1]
        target = self.stack[-1]
        if name.startswith("APPEND"):
            target.extend(values)
        else:
            target.update(zip(values[::2], values[1::2], strict=True))


def _called(function: Any, arguments: Any) -> Any:
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls what is no function")
    name = " ".join(function.text.split())
    if name == _CODECS and len(arguments) == 2 and all(isinstance(text, str) for text in arguments):
        return arguments[0].encode("latin-1")
    if name not in (*_ARRAY, _DTYPE):
        raise ValueError(f"it would call {name.replace(' ', '.')}; only arrays of numbers are read")
    return _Made(name, arguments)


def _plain(value: Any) -> Any:
    """``value``; of a dictionary, keys that are bytes of Python 2 as text, and values that are arrays as such."""
    if not isinstance(value, dict):
        return value
    return {
        key.decode("latin-1") if isinstance(key, bytes) else key: _array(held) if isinstance(held, _Made) else held
        for key, held in value.items()
    }


def _array(made: _Made) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if made.name not in _ARRAY or not isinstance(made.state, tuple) or len(made.state) != 5:
        raise ValueError("it holds an array that is none of numbers")
    _, shape, dtype, fortran, data = made.state
    word = dtype.arguments[0] if isinstance(dtype, _Made) and dtype.name == _DTYPE else None
    word = word.decode("latin-1") if isinstance(word, bytes) else word
    if word not in _UNSIGNED_BYTES or not isinstance(data, bytes):
        raise ValueError(f"it holds an array of {word!r}, not of unsigned bytes")
    flat = np.frombuffer(data, np.uint8)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read_pickle(data: bytes) -> Any:
    """The value in the bytes of a pickle: a dictionary, perhaps with arrays of unsigned bytes, or a list, tuple,
    number, text or bytes.

    Raises
    ------
    ValueError
        for what is no pickle, is cut short, or would make or call anything else, which is named and not done.
    """
    reader = _Reader()
    try:
        for instruction, argument, _ in pickletools.genops(data):
            reader.follow(instruction.name, argument)
        if len(reader.stack) != 1:
            raise ValueError("it leaves no single value")
        return _plain(reader.stack[0])
    except (IndexError, KeyError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is damaged ({type(error).__name__})") from error
