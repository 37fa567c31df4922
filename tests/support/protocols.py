"""What a program can do with an object, generated: each act is done to a plain object and a guarded one.

An act is named after what it does. Its outcome is what it returns or raises, without addresses;
objects that are the one under test are "(itself)".
"""

from __future__ import annotations

import array
import builtins
import collections
import collections.abc
import contextlib
import copy
import heapq
import inspect
import itertools
import math
import numbers
import operator
import os
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from importlib.metadata import version
from multiprocessing.pool import ThreadPool
from typing import Any
from unittest import mock

import grpc
import grpc.aio
from google.protobuf import field_mask_pb2, struct_pb2

from support.comparison import tidy, what

Act = Callable[[Any], Any]

# The data model: every special method that some type of Python has.
_TYPES = (
    *(object, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset),
    *(type, property, memoryview, range, slice, super, classmethod, Exception, ModuleNotFoundError),
    *(collections.deque, collections.Counter, array.array, weakref.ref, weakref.WeakSet),
    *(types.FunctionType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType),
    *(types.ModuleType, types.MethodType, types.SimpleNamespace, types.MappingProxyType),
    *(contextlib.ExitStack, contextlib.AsyncExitStack, itertools.count, type(itertools.tee(())[0])),
    *(os.PathLike, numbers.Number, numbers.Integral),
)
_MORE = """
    __getattr__ __copy__ __deepcopy__ __fspath__ __length_hint__ __trunc__ __matmul__ __rmatmul__
    __imatmul__ __bytes__ __complex__ __aenter__ __aexit__ __enter__ __exit__ __missing__ __set_name__
    __mro_entries__ __prepare__ __instancecheck__ __subclasscheck__ __match_args__ __buffer__
    __release_buffer__ __array__ __array_interface__ __array_ufunc__ __signature__ __wrapped__
    __next__ __anext__ __await__ __aiter__ __getinitargs__ __slots__ __rpow__ __ipow__ __text_signature__
""".split()  # noqa: SIM905
SPECIAL = sorted(
    {name for kind in _TYPES for name in dir(kind) if name.startswith("__")} | set(_MORE)
)


def operands() -> dict[str, Any]:
    """Return the operands, new ones each time: some acts change them."""
    repeated = struct_pb2.ListValue()
    repeated.extend([1, 2])
    return {
        "list": [b"a"],
        "deque": collections.deque([b"a"]),
        "tuple": (b"a",),
        "str": "a%s",
        "bytes": b"a%s",
        "int": 2,
        "float": 2.5,
        "dict": {b"a": 1},
        "set": {b"a"},
        "array": array.array("b", [1]),
        "bytearray": bytearray(b"a"),
        "repeated field": repeated.values,
        "type": int,
        "None": None,
    }


_BINARY_BUILTINS = (divmod, pow, isinstance, getattr, hasattr, zip, map, filter)
_UNARY_BUILTINS = """
    abs all any ascii bin bool bytearray bytes callable chr complex dict enumerate float format
    frozenset hash hex int len list max memoryview min oct ord range repr reversed round set slice
    sorted str sum tuple zip iter aiter
""".split()  # noqa: SIM905
_OPERATORS = [getattr(operator, name) for name in operator.__all__ if name not in ("is_", "is_not")]
_MAKERS = (operator.attrgetter, operator.itemgetter, operator.methodcaller)


def _call_shapes(function: Callable[..., Any]) -> Iterator[tuple[str, Act]]:
    """Every way to call a function of one to three arguments with the object and an operand."""
    yield "(x)", function
    for name in operands():
        yield f"(x, {name})", lambda x, name=name: function(x, operands()[name])
        yield f"({name}, x)", lambda x, name=name: _and_operand(function, name, x)
    yield "(x, x)", lambda x: function(x, x)
    yield "(x, 0, 1)", lambda x: function(x, 0, 1)


def _and_operand(function: Callable[..., Any], name: str, x: Any) -> Any:
    operand = operands()[name]
    result = what(function, operand, x)
    return (result if result is not operand else "(the operand)"), operand


def _text_acts() -> Iterator[tuple[str, Act]]:
    for template in ("%s", "ab", "%d", "%s %s", "%r", "%(a)s", "%c", "%x", "%f", "%%"):
        yield f"{template!r} % x", lambda x, template=template: template % x
        yield f"{template!r}b % x", lambda x, template=template: template.encode() % x
    for spec in ("", ">5", "d", "s"):
        yield f"format {spec!r}", lambda x, spec=spec: format(x, spec)
    yield "f-string", lambda x: (f"{x}", f"{x!r}", f"{x!s:>3.3}", f"{x!a}")
    yield "str.format", lambda x: ("{}".format(x), "{0!r} {0}".format(x))  # noqa: UP032
    yield "str.join", lambda x: "".join(x)
    yield "bytes.join", lambda x: b"".join(x)
    yield "startswith", lambda x: "a".startswith(x)
    yield "texts", lambda x: (repr([x]), repr({1: x}), str((x,)))


def _match(x: Any) -> list[str]:
    seen = []
    match x:
        case [*_]:
            seen.append("sequence")
    match x:
        case {}:
            seen.append("mapping")
    match x:
        case int() | str() | bytes() | float():
            seen.append("scalar")
    match x:
        case grpc.Call() | grpc.aio.Call():
            seen.append("call")
    match x:
        case grpc.RpcContext(cancel=method):
            seen.append(f"context with {callable(method)}")
    match x:
        case object(code=code):
            seen.append(f"code {callable(code)}")
    return seen


def _unpack(x: Any) -> Any:
    first, *rest = x
    return first, rest


def _unpack_three(x: Any) -> Any:
    first, second, third = x
    return first, second, third


def _extended(x: Any) -> Any:
    values = [1, 2, 3, 4]
    values[1:2] = x
    return values


def _extended_field(x: Any) -> Any:
    paths = field_mask_pb2.FieldMask().paths
    paths.extend(x)
    return list(paths)


def _with(x: Any) -> Any:
    stack = contextlib.ExitStack()
    return hasattr(type(x), "__enter__") or stack.enter_context(x)


def _syntax_acts() -> Iterator[tuple[str, Act]]:
    yield "match", _match
    yield "unpacking", _unpack
    yield "unpacking three", _unpack_three
    yield "[*x]", lambda x: [*x]
    yield "{*x}", lambda x: {*x}
    yield "{**x}", lambda x: {**x}
    yield "f(*x)", lambda x: (lambda *args: args)(*x)
    yield "f(**x)", lambda x: (lambda **kwargs: kwargs)(**x)
    yield "slice assignment", _extended
    yield "x[:]", lambda x: x[:]
    yield "[1][x]", lambda x: [1][x]
    yield "x()", lambda x: "(callable)" if callable(x) else x()
    yield "with x", _with
    yield "raise from x", lambda x: (lambda error: setattr(error, "__cause__", x))(ValueError())
    yield "lambda: x.nonsense", lambda x: x.nonsense
    yield "del x.nonsense", lambda x: delattr(x, "nonsense")
    yield "yield from x", lambda x: list((lambda: (yield from x))())
    yield "comprehension", lambda x: [item for item in x]  # noqa: C416
    yield "class C(x)", lambda x: "(not tried)" if callable(x) else type("C", (x,), {})
    yield "int(str)", lambda x: int("10", x)
    yield "range", lambda x: range(10)[x]
    yield "b in x", lambda x: b"1" in x
    yield "nothing in x", lambda x: b"nothing" in x


def _library_acts() -> Iterator[tuple[str, Act]]:
    yield "copy", _quietly(copy.copy)
    yield "deepcopy", _quietly(copy.deepcopy)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", lambda x, protocol=protocol: len(pickle.dumps(x, protocol))
    yield "weakref.ref", lambda x: weakref.ref(x)() is x
    yield "weakref.proxy", lambda x: type(weakref.proxy(x)).__name__
    yield "WeakSet", lambda x: len(weakref.WeakSet([x]))
    yield "get_type_hints", typing.get_type_hints
    yield "length_hint", operator.length_hint
    yield "fspath", os.fspath
    for function in (math.trunc, math.floor, math.ceil, math.sqrt, math.prod, math.fsum):
        yield f"math.{function.__name__}", function
    yield "ThreadPool.map", _in_a_pool
    yield "dict.fromkeys", dict.fromkeys
    yield "list.extend", lambda x: (lambda values: (values.extend(x), values))([b"a"])
    yield "deque.extend", lambda x: collections.deque(x, 2)
    yield "heapq.merge", lambda x: list(heapq.merge([b"1"], x))
    yield "set.update", lambda x: sorted(set().union(x))
    yield "Counter", collections.Counter
    yield "array.extend", lambda x: array.array("b").extend(x)
    yield "repeated.extend", _extended_field
    if not version("protobuf").startswith("5."):  # which goes on with an exception set, to the end
        yield "repeated.extend, wrong type", lambda x: operands()["repeated field"].extend(x)
    yield "memoryview", memoryview
    yield "singledispatch", lambda x: x.__class__.__name__
    for name, predicate in inspect.getmembers(inspect, callable):
        if name.startswith("is") and name not in ("isclass", "iskeyword"):
            yield f"inspect.{name}", predicate
    for name in ("getdoc", "getmodule", "signature", "getcomments", "getfile", "unwrap"):
        yield f"inspect.{name}", getattr(inspect, name)
    yield "inspect.getmembers", lambda x: _shown(dir(x))
    yield "vars", lambda x: sorted(vars(x))
    yield "public names", lambda x: [name for name in _shown(dir(x)) if not name.startswith("_")]


def _quietly(act: Act) -> Act:
    """Return `act` without the complaints of half-made copies, grpcio's own, when they die."""

    def quiet(x: Any) -> Any:
        with mock.patch.object(sys, "unraisablehook"):
            return type(what(act, x)).__name__

    return quiet


def _in_a_pool(x: Any) -> Any:
    with ThreadPool(1) as pool:
        return pool.map(bytes.upper, x)


def _mock_acts() -> Iterator[tuple[str, Act]]:
    kinds = [kind for kind in _kinds() if kind.__module__.startswith("grpc")]

    def like(make: Callable[[Any], Any]) -> Act:
        def names(x: Any) -> list[str]:
            double = make(x)
            return [kind.__name__ for kind in kinds if isinstance(double, kind)]

        return names

    yield "Mock(spec=x)", like(lambda x: mock.Mock(spec=x))
    yield "MagicMock(spec_set=x)", like(lambda x: mock.MagicMock(spec_set=x))
    yield "create_autospec(x)", like(mock.create_autospec)
    yield "autospec, names", lambda x: _shown(dir(mock.create_autospec(x)))
    yield "patch.object(x, …)", lambda x: [_patched(x, x, name) for name in _methods(x)]
    yield (
        "patch.object(type(x), …)",
        lambda x: [_patched(type(x), x, name) for name in _methods(x)],
    )


def _shown(names: list[str]) -> list[str]:
    """Leave out a cache of copyreg, and what a guarded server has more than a plain one."""
    return [name for name in names if name not in ("__slotnames__", "snapshot")]


def _methods(x: Any) -> list[str]:
    return [
        name
        for name in _shown(dir(x))
        if not name.startswith("_") and callable(getattr(x, name, None))
    ]


def _patched(target: Any, x: Any, name: str) -> Any:
    before = hasattr(x, name)
    try:
        with mock.patch.object(target, name) as replaced:
            inside = getattr(x, name) is replaced, type(replaced).__name__
    except (TypeError, AttributeError) as error:  # what is compiled cannot be patched
        return name, type(error).__name__
    return name, inside, before is hasattr(x, name), isinstance(getattr(x, name), mock.Mock)


def _kinds() -> Iterator[type]:
    for name in collections.abc.__all__:
        if name != "ByteString":  # deprecated
            yield getattr(collections.abc, name)
    yield from (contextlib.AbstractContextManager, contextlib.AbstractAsyncContextManager)
    yield from (os.PathLike, numbers.Number, numbers.Complex, numbers.Integral)
    for name in typing.__all__:
        kind = getattr(typing, name)
        if name.startswith("Supports"):
            yield kind
    yield from (int, str, bytes, list, tuple, dict, type, object, BaseException, Exception)
    yield from (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)
    yield from (types.FunctionType, types.MethodType)
    for module in (grpc, grpc.aio):
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__.startswith("grpc"):
                yield kind


def _kind_acts() -> Iterator[tuple[str, Act]]:
    for kind in _kinds():
        yield f"isinstance {kind.__name__}", lambda x, kind=kind: isinstance(x, kind)
        yield f"issubclass {kind.__name__}", lambda x, kind=kind: issubclass(type(x), kind)
        yield f"__class__ {kind.__name__}", lambda x, kind=kind: issubclass(x.__class__, kind)


def acts() -> dict[str, Act]:
    """Return every act that takes one object, by name."""
    found: dict[str, Act] = {}
    for name in SPECIAL:
        found[f"hasattr {name}"] = lambda x, name=name: hasattr(x, name)
        found[f"hasattr(type) {name}"] = lambda x, name=name: hasattr(type(x), name)
    for function in (*_OPERATORS, *_BINARY_BUILTINS):
        if function in _MAKERS:
            continue
        for shape, act in _call_shapes(function):
            found[f"{function.__name__}{shape}"] = act
    for name in _UNARY_BUILTINS:
        if hasattr(builtins, name):
            found[f"{name}(x)"] = getattr(builtins, name)
    for more in (_text_acts, _syntax_acts, _library_acts, _mock_acts, _kind_acts):
        found.update(more())
    return found


# Outcomes


def outcome(act: Act, x: Any) -> Any:
    """Return what `act` does with `x`, so that it can be compared."""
    return _told(what(act, x), x, 0)


def _told(value: Any, x: Any, depth: int) -> Any:
    if value is x:
        return "(itself)"
    if value is getattr(x, "__wrapped__", x):
        return "(the plain one)"
    if isinstance(value, BaseException) and not isinstance(value, grpc.RpcError):
        return type(value).__name__, tidy(_named(str(value), x))
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)) and depth < 4:
        items = [_told(item, x, depth + 1) for item in value]
        return type(value).__name__, sorted(items, key=repr) if isinstance(value, set) else items
    if hasattr(type(value), "__next__") and depth < 4:
        return type(value).__name__, _told(what(list, itertools.islice(value, 20)), x, depth + 1)
    return tidy(_named(repr(value), x))


def _named(text: str, x: Any) -> str:
    """Return `text` with the type of `x` by the last part of its name, however it was named."""
    kind, real = x.__class__, type(x)
    for full in (f"{kind.__module__}.{kind.__name__}", f"{real.__module__}.{real.__qualname__}"):
        text = text.replace(full, kind.__name__)
    return text


class _Probe:
    """An iterator that notes whether an item was taken from it."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> _Probe:
        return self

    def __next__(self) -> bytes:
        self.taken += 1
        if self.taken > 3:
            raise StopIteration
        return b"%d" % self.taken


class _CallableProbe:
    """A callable that notes whether it was called."""

    def __init__(self) -> None:
        self.called = False

    def __call__(self, *args: Any) -> None:
        self.called = True


def consumes(act: Act) -> bool:
    """Tell whether `act` takes messages from an iterator."""
    probe = _Probe()
    outcome(act, probe)
    return probe.taken > 0


def starts(act: Act) -> bool:
    """Tell whether `act` calls what can be called: on a multi-callable it would start an RPC."""
    probe = _CallableProbe()
    outcome(act, probe)
    return probe.called
