"""Owns the reading of request parameters. Invariant: what passes is exactly what the official SDK's own
annotations (`stripe.params…`) allow, so a parameter Stripe has dropped is refused here as well.
"""

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import cache
from types import SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions, StripeObject
from typing_extensions import Format, get_annotations, is_typeddict

from simulator.stripe.errors import ApiError

_KEY = re.compile(r"([^\[\]]{1,100})((?:\[[^\[\]]{0,100}\]){0,8})")
_STRING_LIMIT = 5000  # Stripe's limit for an ordinary string


def read(shape: type, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Form or query pairs → typed parameters, checked against `shape`, a TypedDict of `stripe.params`.

    Raises `ApiError` with status 400 and Stripe's codes: `parameter_unknown`, `parameter_missing`,
    `parameter_invalid_integer`, `parameter_invalid_empty`.
    """
    return _object(shape, _nest(pairs), "")


def _nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0]=c` → {"a": {"b": {"0": "c"}}}: lists are told apart later, by the annotation."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None:
            raise ApiError(f"Received unknown parameter: {key[:100]}", code="parameter_unknown", param=key[:100])
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        node = root
        for step in path[:-1]:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise _invalid("hash", key)
        leaf = path[-1] or str(len(node))
        if leaf in node:
            raise _invalid("value, given twice", key)
        node[leaf] = value
    return root


@cache
def _fields(shape: type) -> dict[str, Any]:
    """Name → annotation of a TypedDict, without the SDK's request options (they are headers)."""
    options = get_annotations(RequestOptions, format=Format.FORWARDREF)
    hints = get_annotations(shape, format=Format.FORWARDREF)
    own = SimpleNamespace(__annotations__={name: hint for name, hint in hints.items() if name not in options})
    return get_type_hints(own, globalns=vars(sys.modules[shape.__module__]))


def _object(shape: type, raw: Any, name: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _invalid("object", name)
    fields = _fields(shape)
    inside = f"{name}[%s]" if name else "%s"
    for given in raw:
        if given not in fields:
            full = inside % given
            raise ApiError(f"Received unknown parameter: {full}", code="parameter_unknown", param=full)
    for required in sorted(shape.__required_keys__):  # type: ignore[attr-defined]
        if required not in raw:
            full = inside % required
            raise ApiError(f"Missing required param: {full}.", code="parameter_missing", param=full)
    return {key: _value(fields[key], value, inside % key) for key, value in raw.items()}


def _value(hint: Any, raw: Any, name: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType, Literal):
        return _choice(hint, raw, name)
    if is_typeddict(hint):
        return _object(hint, raw, name)
    if origin is list:
        if not isinstance(raw, dict) or not all(key.isdecimal() for key in raw):
            raise _invalid("array", name)
        return [_value(get_args(hint)[0], raw[key], f"{name}[{key}]") for key in sorted(raw, key=int)]
    if origin is dict or (isinstance(origin, type) and issubclass(origin, StripeObject)):
        return _metadata(raw, name)
    return _scalar(hint, raw, name)


def _choice(hint: Any, raw: Any, name: str) -> Any:
    """A union. `Literal[…] | str` stands for an enumeration: Stripe refuses words outside it."""
    words, kinds = _alternatives(hint)
    if isinstance(raw, dict):
        for kind in kinds:
            if is_typeddict(kind) or get_origin(kind):
                return _value(kind, raw, name)
        raise _invalid("string", name)
    if raw in words:
        return raw
    for kind in (int, bool):
        with suppress(ApiError):
            if kind in kinds:
                return _scalar(kind, raw, name)
    if any(words):
        raise ApiError(f"Invalid {name}: must be one of {', '.join(filter(None, words))}", param=name)
    if str in kinds:
        return _scalar(str, raw, name)
    raise _invalid("object", name)


def _alternatives(hint: Any) -> tuple[list[str], list[Any]]:
    """The literal words of a (nested) union, and its other members."""
    if get_origin(hint) is Literal:
        return list(get_args(hint)), []
    if get_origin(hint) not in (Union, UnionType):
        return [], [hint]
    parts = [_alternatives(option) for option in get_args(hint)]
    return [word for words, _ in parts for word in words], [kind for _, kinds in parts for kind in kinds]


def _scalar(hint: Any, raw: Any, name: str) -> Any:
    if not isinstance(raw, str):
        raise _invalid("string", name)
    if raw == "":
        raise ApiError(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
            f"field; however '{name}' cannot be unset.",
            code="parameter_invalid_empty",
            param=name,
        )
    if hint is int:
        if not re.fullmatch(r"-?[0-9]{1,15}", raw):
            raise ApiError(f"Invalid integer: {raw[:40]}", code="parameter_invalid_integer", param=name)
        return int(raw)
    if hint is bool:
        if raw not in ("true", "false"):
            raise _invalid("boolean", name)
        return raw == "true"
    if hint is Decimal:
        try:
            return Decimal(raw)
        except InvalidOperation:
            raise _invalid("decimal", name) from None
    if hint is not str:
        raise ApiError(f"The simulator does not know the type of {name}.", param=name)
    if len(raw) > _STRING_LIMIT:
        raise ApiError(f"Invalid string: {name} must be at most {_STRING_LIMIT} characters", param=name)
    return raw


def _metadata(raw: Any, name: str) -> dict[str, str]:
    """At most 50 keys of 40 characters with values of 500 (https://docs.stripe.com/api/metadata)."""
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise _invalid("hash of strings", name)
    if len(raw) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in raw.items()):
        raise ApiError(f"{name} can have up to 50 keys of 40 characters, with values up to 500.", param=name)
    return dict(raw)


def _invalid(wanted: str, name: str) -> ApiError:
    return ApiError(f"Invalid {wanted}: {name}", param=name)
