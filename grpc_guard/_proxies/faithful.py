"""A proxy that supports exactly the protocols of the object that it wraps.

The class of each proxy is made for the type of the object that it wraps: its *twin*, with the
special methods of this type. wrapt's BaseObjectProxy, the base of all, has a method for every
operator, for sequences, mappings and contexts. A method that the type of the wrapped object lacks
is emptied: operators decline, so that the other operand is asked, and all others are absent, both
for ``hasattr`` and for the interpreter (emptied.py). The compiled core leaves their slots empty.
"""

from __future__ import annotations

import abc
import types
import weakref
from collections.abc import Callable
from types import GetSetDescriptorType
from typing import Any

from .._core import which
from .._core.records import ConstructingType
from .emptied import WRAPT, emptied, is_method, is_special

# What Python puts into the namespace of a class, where a lookup on an instance would find it.
_TELLTALES = (
    *("__annotations__", "__annotate__", "__annotate_func__"),
    *("__firstlineno__", "__static_attributes__"),
)


class Forward:
    """A method that the proxy forwards unchanged, defined on the class.

    On the class, so that ``mock.patch.object(type(proxy), "close")`` finds it, as on the class
    of the wrapped object; a descriptor, so that the proxy lacks a method that the wrapped
    object lacks.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, proxy: Any, owner: Any) -> Any:
        if proxy is not None:
            return getattr(proxy.__wrapped__, self.name)
        plain = owner._self_type
        return self if plain is None else getattr(plain(), self.name)


class _BorrowedText(str):
    """The ``__doc__`` or ``__module__`` of a proxy's class; a proxy has those of what it wraps."""

    __slots__ = ("_name",)

    _name: str

    @classmethod
    def of(cls, proxy: type, name: str) -> _BorrowedText:
        text = cls(getattr(proxy, name) or "")
        text._name = name
        return text

    def __get__(self, proxy: Any, owner: type | None = None) -> Any:
        return str(self) if proxy is None else getattr(proxy.__wrapped__, self._name)


def _forwarding(name: str) -> Callable[..., Any]:
    """Return special method `name`, done by the wrapped object; the proxy replaces it as result."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        wrapped = self.__wrapped__
        result = getattr(wrapped, name)(*args, **kwargs)
        return self if result is wrapped else result

    method.__name__ = method.__qualname__ = name
    return method


def _comparing(name: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if issubclass(type(other), Proxy):
            other = other.__wrapped__
        return getattr(self.__wrapped__, name)(other)

    method.__name__ = method.__qualname__ = name
    return method


def _set_attribute(proxy: Any, name: str, value: object) -> None:
    if name.startswith("_self_"):
        object.__setattr__(proxy, name, value)
        return
    setattr(proxy.__wrapped__, name, value)
    if name.startswith("__"):
        return
    twin = type(proxy)
    of_class = next((vars(base)[name] for base in _real_mro(twin) if name in vars(base)), None)
    if (
        of_class is not None and type(of_class) is not Forward
    ):  # the program has replaced read(), say
        _replace(proxy, twin._self_replaced | {name})


def _delete_attribute(proxy: Any, name: str) -> None:
    if name.startswith("_self_"):
        object.__delattr__(proxy, name)
        return
    delattr(proxy.__wrapped__, name)
    replaced = type(proxy)._self_replaced
    if name in replaced:
        _replace(proxy, replaced - {name})


def _replace(proxy: Any, names: frozenset[str]) -> None:
    """Give `proxy` the class that takes these `names` from the wrapped object, where the program set them."""
    twin = type(proxy)
    whole: Any = twin.__base__ if twin._self_replaced else twin
    known = whole._self_replacing
    if names not in known:
        namespace = {name: Forward(name) for name in names} | {"_self_replaced": names}
        known.setdefault(names, _twin(whole, whole._self_type, namespace))
    object.__setattr__(proxy, "_self_class", known[names])


def _twin(base: Any, plain: weakref.ref[type], namespace: dict[str, Any]) -> Any:
    namespace |= {
        "__slots__": (),
        "__doc__": _BorrowedText.of(base, "__doc__"),
        "__module__": _BorrowedText.of(base, "__module__"),
        "__qualname__": base.__qualname__,
        "_self_type": plain,
    }
    twin = type.__new__(_TwinType, getattr(plain(), "__name__", base.__name__), (base,), namespace)
    type.__delattr__(twin, "__slots__")
    if _compiled is not None:
        real = [owner for owner in _real_mro(twin) if owner not in _HIDDEN]
        _compiled.empty_slots(twin, {name for owner in real for name in vars(owner)})
    return twin


_real_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__


class ProxyType(ConstructingType, type(WRAPT)):  # type: ignore[misc]  # without its C code wrapt has one of its own
    """The type of the classes of proxies.

    A class defines special methods as any other class does. They are put aside: only twins of
    types that have the method themselves get them.
    """

    _self_specials: dict[str, Any]
    _self_twins: dict[int, Any]  # by the identity of a type, which is alive while an object has it
    _self_type: weakref.ref[type] | None  # set on twins
    _self_replaced: frozenset[str]
    _self_replacing: dict[frozenset[str], Any]  # on twins: with some attributes the program's

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ProxyType:
        is_root = WRAPT in bases
        own = {name: value for name, value in namespace.items() if is_special(name, value)}
        for name_ in (*own, *_TELLTALES):
            namespace.pop(name_, None)
        if is_root:
            namespace |= emptied()
        texts = {name: namespace.get(name) for name in ("__module__", "__doc__")}
        kind = super().__new__(cls, name, bases, namespace)
        for name_, text in texts.items():  # without its C code, wrapt has properties there
            type.__setattr__(kind, name_, text)
        type.__delattr__(kind, "__slots__")
        inherited = [getattr(base, "_self_specials", {}) for base in reversed(kind.__mro__[1:])]
        kind._self_specials = {
            key: value for each in inherited for key, value in each.items()
        } | own
        kind._self_recipe = None  # that of a base is not its own
        kind._self_twins = {}
        kind._self_type = None
        return kind

    @property
    def __mro__(cls) -> tuple[type, ...]:
        """The method resolution order for abc and typing: without wrapt's and emptied classes."""
        return tuple(base for base in _real_mro(cls) if base not in _HIDDEN)

    def _make_twin(cls, plain: Any) -> Any:
        """Return the class of the proxies of this kind around objects of type `plain`."""
        namespace: dict[str, Any] = {
            "__setattr__": _set_attribute,
            "__delattr__": _delete_attribute,
            "_self_replaced": frozenset(),
        }
        # As they stand in the classes but object: to look one up on the class may run the program's code.
        offered: dict[str, Any] = {}
        for owner in reversed(plain.__mro__[:-1]):
            offered.update(vars(owner))
        for name, value in offered.items():
            if name in _TELLTALES:
                continue
            if value is None and is_special(name, value):  # removed by None, as __hash__ is
                namespace[name] = None
            elif any(name in vars(base) for base in cls.__mro__[:-1]) or name in vars(object):
                continue
            elif not name.startswith("_"):
                namespace[name] = Forward(name)
            elif is_method(name, value):
                namespace[name] = cls._self_specials.get(name) or _forwarding(name)
        for name, method in cls._self_around(plain).items():
            if name in namespace or not name.startswith("__"):
                namespace[name] = method
        twins, key = cls._self_twins, id(plain)
        twin = _twin(cls, weakref.ref(plain, lambda _: twins.pop(key, None)), namespace)
        twin._self_replacing = {frozenset(): twin}
        for base in plain.__mro__:  # for code that asks type(x), such as a mock with x as its spec
            if isinstance(base, abc.ABCMeta):
                abc.ABCMeta.register(base, twin)
        return twins.setdefault(key, twin)


class _TwinType(ProxyType):
    """The type of twins: calling one, as ``type(x)(...)``, makes a plain object; and so do its subclasses."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **given: Any
    ) -> Any:
        plain = tuple(base._self_type() if type(base) is cls else base for base in bases)  # type: ignore[misc]
        return types.new_class(name, plain, given, lambda made: made.update(namespace))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._self_type()(*args, **kwargs)  # type: ignore[misc]  # x has the type


_HIDDEN: set[type] = set(WRAPT.__mro__[:-1])
_compiled = which.compiled()
_wrapped: Any = vars(WRAPT).get("__wrapped__")


def _wrap_in_python(proxy: Any, wrapped: object) -> None:
    object.__setattr__(proxy, "__wrapped__", wrapped)


_of_the_wrapped: Any = WRAPT.__getattr__  # type: ignore[attr-defined]


class Proxy(WRAPT, metaclass=ProxyType):
    """Looks, compares, hashes and prints like the object it wraps.

    BaseObjectProxy and not ObjectProxy: the ``__iter__`` of the latter returns the iterator of
    the bare object, so every ``for`` would bypass the guard. State is in slots that begin with
    ``_self_``. The plain ``object.__getattribute__`` reads them five times as fast as wrapt's,
    and attributes that it does not find still go to the wrapped object.

    By ``_self_wrapped`` and ``_self_class`` a proxy is given what it wraps, and its real class:
    assigned by their own names, they would be attributes of the wrapped object.
    """

    __slots__ = ()

    __wrapped__: Any
    # Without its C code, wrapt has no field for what is wrapped.
    _self_wrapped: Any = property(None, _wrap_in_python) if _wrapped is None else _wrapped
    _self_class: Any = vars(object)["__class__"]
    __getattribute__ = object.__getattribute__
    __setattr__ = object.__setattr__  # in constructors; a twin has its own
    __delattr__ = object.__delattr__
    __wrapped_setattr_fixups__ = bool  # wrapt calls it when __wrapped__ is set: nothing to do

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _compiled is not None:
            _compiled.attributes_by_slot(cls, object.__getattribute__, _of_the_wrapped)
            if type(_wrapped) is GetSetDescriptorType:  # wrapt has its C code, too
                _compiled.ends_by_slot(cls, _wrapped)

    def __init__(self, wrapped: object) -> None:
        self._self_wrapped = wrapped

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        """Return what proxies of this class have around objects of type `plain` alone.

        Special methods among it are left out where `plain` has none of the name.
        """
        return {}

    __repr__ = _forwarding("__repr__")
    __str__ = _forwarding("__str__")
    __format__ = _forwarding("__format__")
    __hash__ = _forwarding("__hash__")
    __dir__ = _forwarding("__dir__")
    __sizeof__ = _forwarding("__sizeof__")
    __reduce__ = _forwarding("__reduce__")
    __reduce_ex__ = _forwarding("__reduce_ex__")
    __getstate__ = _forwarding("__getstate__")
    __eq__ = _comparing("__eq__")
    __ne__ = _comparing("__ne__")
    __lt__ = _comparing("__lt__")
    __le__ = _comparing("__le__")
    __gt__ = _comparing("__gt__")
    __ge__ = _comparing("__ge__")


_HIDDEN.add(Proxy)
