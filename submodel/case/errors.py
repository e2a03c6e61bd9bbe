"""Turns what pydantic finds wrong with a case into one sentence: the key, what was got, what to write."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


class SubmodelError(Exception):
    """The base of every error of this package whose message names a remedy."""


class CaseError(SubmodelError, ValueError):
    """A case, or a parameter for one, that cannot be used; the message names the remedy."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence for the first fault of a validation, with the number of the others."""
    # a misspelt key before the missing one that it causes
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    first = _locate(faults[0]["loc"], model)[2]
    same = [fault for fault in faults if _locate(fault["loc"], model)[2] == first]
    others = len(faults) - len(same)
    fault = max(same, key=lambda fault: len(fault["loc"]))  # of alternatives, the one that came nearest
    return _explain_fault(fault, model) + (f" (and {others} more)" if others else "")


def _explain_fault(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    if fault["type"] == "value_error":  # raised by a validator of ours: already a sentence
        return str(fault["ctx"]["error"])
    section, field, key = _locate(fault["loc"], model)
    name = key.rpartition(".")[2]
    table = f"[{key.rpartition('.')[0]}]" if "." in key else "the top of the file"
    if fault["type"] == "missing":
        return f"{key} is missing: {_add(name, field, table)}"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key}: {_suggest(name, section, table)}"
    if fault["type"] == "union_tag_not_found":
        kinds = fault["ctx"]["discriminator"].strip("'")
        return f'{key}.{kinds} is missing: add `{kinds} = "box"` or `{kinds} = "gmsh"` to [{key}]'
    if fault["type"] == "union_tag_invalid":
        tag, known = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", '"')
        return f'{key}.kind = "{tag}" is not known: write one of {known}'
    complaint = "should" + fault["msg"].partition("should")[2]
    return f"{key} {complaint}, got {_shown(fault['input'])}: {_write(name, field)}"


def _locate(loc: Iterable[Any], model: type[BaseModel]) -> tuple[type[BaseModel], FieldInfo | None, str]:
    """The section, the field and the dotted key of a pydantic location; inner indices are dropped."""
    section, field, names = model, None, []
    for part in loc:
        candidates = _sections(field) if field is not None else [section]
        if not candidates:
            break
        if part in ("box", "gmsh"):  # the tag that chose among the kinds of domain, not a key
            tagged = [c for c in candidates if part in get_args(c.model_fields["kind"].annotation)]
            section, field = tagged[0], None
            continue
        section = candidates[0]
        field = section.model_fields.get(str(part))
        names.append(str(part))
        if field is None:
            break
    return section, field, ".".join(names)


def _sections(field: FieldInfo) -> list[type[BaseModel]]:
    """The models that a field's annotation names."""
    options = get_args(field.annotation) or (field.annotation,)
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]


def _suggest(name: str, section: type[BaseModel], table: str) -> str:
    known = list(section.model_fields)
    close = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}{table} takes {', '.join(known)}"


def _add(name: str, field: FieldInfo | None, table: str) -> str:
    if field is not None and _sections(field):
        return f"add a section [{name}] ({field.description})"
    return f"add {_example(name, field)} to {table}"


def _write(name: str, field: FieldInfo | None) -> str:
    if field is not None and _sections(field):
        return f"write a section [{name}] ({field.description})"
    return f"write for example {_example(name, field)}"


def _example(name: str, field: FieldInfo | None) -> str:
    if field is None or not field.examples:
        return f"`{name} = ...`"
    return f"`{name} = {json.dumps(field.examples[0])}` ({field.description})"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
