"""Wave speeds that vary from place to place: a formula of x and y, or values read from a file. NumPy and SciPy only."""

from __future__ import annotations

import ast
import csv
import difflib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[Any]

MOST_CHARACTERS, MOST_LEVELS = 2000, 40
"""Longest formula, and how deep its brackets may lie in one another."""
NUM_WAVES = 60
"""Plane waves of a random function."""
CONSTANTS = {"pi": np.pi}


def smooth(points: Array, seed: int, wavelength: float) -> Array:
    """A smooth random function: mean 0 and standard deviation 1 over the plane, wavelengths of that length and more.

    A sum of plane waves in random directions, with random phases, wave numbers uniform up to 2 pi / wavelength and
    amplitudes drawn from the normal distribution.

    Args:
        points: (..., 2), length.
        seed: A whole number, 0 or more; another one is another function.
        wavelength: The shortest, length.
    """
    draw = np.random.default_rng(int(seed))
    total, squares = np.zeros(points.shape[:-1]), 0.0
    for _ in range(NUM_WAVES):
        number, angle = draw.uniform(0, 2 * np.pi / wavelength), draw.uniform(0, 2 * np.pi)
        size, phase = draw.normal(), draw.uniform(0, 2 * np.pi)
        total += size * np.cos(number * (points @ np.array([np.cos(angle), np.sin(angle)])) + phase)
        squares += 0.5 * size**2
    return np.asarray(total / np.sqrt(squares))


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    **{name: (1, getattr(np, name)) for name in ("sin", "cos", "tan", "exp", "log", "sqrt", "tanh", "abs")},
    **{name: (2, getattr(np, name)) for name in ("hypot", "minimum", "maximum", "arctan2")},
    "where": (3, np.where),
}
"""Functions of a formula with the number of their values; `smooth` beside them knows the place."""
NAMES = sorted({"x", "y", "smooth", *CONSTANTS, *FUNCTIONS})
ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
ORDER: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Formula:
    """A formula of x and y, such as ``1 + 0.2 * sin(pi * x) * exp(-y**2)``.

    It is read as Python's own syntax tree and computed by this class: numbers, x, y, pi, + - * / **, brackets,
    comparisons inside `where`, and the functions of `NAMES`; nothing else is ever run.

    Args:
        text: The formula.

    Raises:
        ValueError: It holds something else; the message names it.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"the formula has {len(text)} characters, and {MOST_CHARACTERS} are allowed: shorten it")
        try:
            self._tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise ValueError(f'"{_short(self.text)}" is no formula of x and y: {_fault(error)}') from error
        _check(self._tree, self.text, 0)

    def __call__(self, points: Array) -> Array:
        """Values at places, (..., 2) to (...)."""
        with np.errstate(all="ignore"):  # what is not finite is refused by whoever asked
            value = self._value(self._tree, np.asarray(points, dtype=np.float64))
        return np.array(np.broadcast_to(value, np.shape(points)[:-1]), dtype=np.float64)

    def _value(self, node: ast.AST, points: Array) -> Any:
        match node:
            case ast.Constant(value=number):
                return np.float64(number)
            case ast.Name(id="x"):
                return points[..., 0]
            case ast.Name(id="y"):
                return points[..., 1]
            case ast.Name(id=name):
                return np.float64(CONSTANTS[name])
            case ast.UnaryOp(op=sign, operand=inner):
                return ARITHMETIC[type(sign)](self._value(inner, points))
            case ast.BinOp(left=left, op=sign, right=right):
                return ARITHMETIC[type(sign)](self._value(left, points), self._value(right, points))
            case ast.Compare(left=first, ops=signs, comparators=rest):
                values = [self._value(each, points) for each in (first, *rest)]
                pairs = zip(signs, values, values[1:], strict=False)
                return np.logical_and.reduce([ORDER[type(sign)](*sides) for sign, *sides in pairs])
            case ast.Call(func=ast.Name(id="smooth"), args=numbers):
                seed, wavelength = map(ast.literal_eval, numbers)
                return smooth(points, seed, wavelength)
            case ast.Call(func=ast.Name(id=name), args=inner):
                return FUNCTIONS[name][1](*(self._value(each, points) for each in inner))
        raise ValueError(f"{type(node).__name__} is no part of a formula")


def _check(node: ast.AST, text: str, level: int) -> None:
    """Refuse whatever a formula may not hold."""
    if level > MOST_LEVELS:
        raise ValueError(f'the brackets of "{_short(text)}" lie more than {MOST_LEVELS} deep: write a simpler formula')
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name) if name in ("x", "y", *CONSTANTS):
            return
        case ast.Name(id=name):
            raise ValueError(f'"{_short(text)}" has the name {name}, which is not known{_meant(name)}')
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in ARITHMETIC:
            return _check(inner, text, level + 1)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in ARITHMETIC:
            _check(left, text, level + 1)
            return _check(right, text, level + 1)
        case ast.Call(func=ast.Name(id=name), args=inner, keywords=[]):
            return _check_call(node, name, inner, text, level)
    part = _short(ast.get_source_segment(text, node) or text)
    raise ValueError(
        f'"{part}" is no part of a formula: it takes numbers, x, y, pi, + - * / **, brackets, and '
        f"{', '.join(name for name in NAMES if name not in ('x', 'y', 'pi'))}"
    )


def _check_call(node: ast.Call, name: str, values: list[ast.expr], text: str, level: int) -> None:
    """Refuse functions that are not known, or that are given more or fewer values than they take."""
    if name not in FUNCTIONS and name != "smooth":
        raise ValueError(f'"{_short(text)}" has the function {name}, which is not known{_meant(name)}')
    num = 2 if name == "smooth" else FUNCTIONS[name][0]
    part = _short(ast.get_source_segment(text, node) or text)
    if len(values) != num:
        raise ValueError(f"{part}: {name} takes {num} value{'s' * (num > 1)}, not {len(values)}")
    if name == "smooth":
        seed, length = (value.value if isinstance(value, ast.Constant) else None for value in values)
        if not (type(seed) is int and isinstance(length, int | float) and 0 < length < np.inf):
            raise ValueError(f"{part}: smooth takes two numbers, a whole seed and the shortest wavelength")
    if name == "where":
        condition, *values = values
        if not isinstance(condition, ast.Compare) or not all(type(sign) in ORDER for sign in condition.ops):
            raise ValueError(f"{part}: where takes a comparison first, as in where(x < 0.5, 1.0, 2.0)")
        values = [condition.left, *condition.comparators, *values]
    for value in values:
        _check(value, text, level + 1)


class Tabulated:
    """Wave speeds at places, for example the midpoints of all cells: each place takes that of the nearest one.

    Args:
        places: (place, 2), length.
        values: (place,) wave speeds.
    """

    def __init__(self, places: Array, values: Array) -> None:
        self._tree, self._values = cKDTree(places), np.asarray(values, dtype=np.float64)

    @classmethod
    def read(cls, path: Path) -> Tabulated:
        """Wave speeds from a file of rows x,y,speed below that header.

        Raises:
            ValueError: The file holds something else; the message names the line.
        """
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        header = [word.strip() for word in rows[0]] if rows else []
        if header != ["x", "y", "speed"]:
            raise ValueError(f"{path} begins with {','.join(header) or 'nothing'}: its first line must be x,y,speed")
        numbers = []
        for line, row in enumerate(rows[1:], 2):
            try:
                x, y, speed = map(float, row)
            except ValueError as error:
                raise ValueError(f"{path}, line {line}: {','.join(row)!r} is not three numbers x,y,speed") from error
            if not (np.isfinite([x, y, speed]).all() and speed > 0):
                raise ValueError(f"{path}, line {line}: {','.join(row)!r} needs finite numbers and a positive speed")
            numbers.append((x, y, speed))
        if not numbers:
            raise ValueError(f"{path} holds no places: write a row x,y,speed for each cell")
        table = np.array(numbers)
        return cls(table[:, :2], table[:, 2])

    def __call__(self, points: Array) -> Array:
        """Values at places, (..., 2) to (...)."""
        return np.asarray(self._values[self._tree.query(points)[1]])


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, NAMES, 1)
    return f": did you mean {close[0]}?" if close else f": a formula knows {', '.join(NAMES)}"


def _fault(error: BaseException) -> str:
    return str(error.msg) if isinstance(error, SyntaxError) else "it cannot be read"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
