"""What may be asked for on the page: forms made from the dataclasses of options, and jobs made from filled-in forms.

Options that name files or other machines are left out: the page may name no file but films, and the server opens no
connections for it. Of models there are those of `refilm models` to choose from.
"""

from __future__ import annotations

import secrets
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from refilm import options
from refilm.api import enhance
from refilm.errors import UsageError
from refilm.models import MODELS
from refilm.tasks import TASKS, Task
from refilm.video.coded import SUFFIX
from refilm.video.purposes import purpose_of
from refilm.web.films import Film, safe_name
from refilm.web.queue import Job, Step, titled

PREVIEW_SECONDS = 5
_ENHANCE = "enhance"
# Options that name files or other machines, and those that the server itself decides.
_HIDDEN = {"models", "weights", "through", "on", "overwrite", "restart", "preview", "input_fps"}
_MILLISECOND = Fraction(1, 1000)
# The function that writes what a command tells, and the ending of the file that the page can show.
_WRITING = {"recognize": ("timeline", ".csv"), "detect": ("detections", ".jsonl")}
_GROUPS = {options.Encoding: "Encoding", options.Running: "Running"}


def forms() -> list[dict[str, Any]]:
    """A form for each command: its words, its models, and its fields in groups, in JSON's types.

    A command of whose models none has weights has no form, since the page takes no weight files.
    """
    found = [_form(_ENHANCE, (enhance.__doc__ or "").partition("\n")[0], "pictures", [])]
    for task in TASKS.values():
        if models := _models(task):
            found.append(_form(task.verb, task.summary.partition("\n")[0], task.makes, models))
    return found


def _form(verb: str, summary: str, makes: str, models: list[str]) -> dict[str, Any]:
    groups = [{"title": _GROUPS.get(kind, ""), "fields": list(_fields(kind))} for kind in _kinds(verb)]
    return {"verb": verb, "summary": summary, "makes": makes, "models": models, "groups": groups}


def _fields(kind: type) -> Iterator[dict[str, Any]]:
    told, hints, marked = options.documentation(kind), get_type_hints(kind), get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if field.name not in _HIDDEN:
            type_, choices = _plain_type(hints[field.name])
            yield {
                "name": field.name,
                "label": _label(field.name, marked[field.name]),
                "type": type_,
                "choices": choices,
                "default": field.default,
                "help": told[field.name],
            }


def _plain_type(hint: Any) -> tuple[Literal["switch", "whole", "number", "choice", "text"], list[str]]:
    """The kind of a form's field for the type of an option, and what there is to choose from."""
    kinds = set(get_args(hint)) - {types.NoneType} if get_origin(hint) in (Union, types.UnionType) else {hint}
    for kind in kinds:
        if get_origin(kind) is Literal:
            return "choice", list(get_args(kind))
    for kind, name in ((bool, "switch"), (str, "text"), (float, "number"), (int, "whole")):
        if kind in kinds:
            return name, []  # type: ignore[return-value]  # of these four
    raise TypeError(f"a form has no field for {hint}")


def _label(name: str, hint: Any) -> str:
    """The name of an option's flag in words: "for" where the field is called otherwise, since Python has that word."""
    marks = (mark.name or () for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Parameter))
    flag = next((flag for flags in marks for flag in flags), name)
    return flag.lstrip("-").replace("-", " ").replace("_", " ")


def _kinds(verb: str) -> list[type]:
    """The dataclasses of a command's options, its own first."""
    if verb == _ENHANCE:
        return [options.Enhance, options.Encoding, options.Running]
    task = _task(verb)
    return [task.options, *([options.Encoding] if task.makes == "pictures" else []), options.Running]


def _task(verb: str) -> Task:
    found = next((task for task in TASKS.values() if task.verb == verb), None)
    if found is None:
        known = ", ".join([_ENHANCE, *(task.verb for task in TASKS.values())])
        raise UsageError(f"no task is called {verb!r}; there are {known}")
    return found


def _models(task: Task) -> list[str]:
    """The models for a task that run as they ship."""
    return [name for name, row in MODELS.items() if row.task == task.name and row.runs_as_shipped]


def wanted_job(film: Film, folder: Path, wishes: Mapping[str, Any]) -> Job:
    """The job that a filled-in form asks for.

    folder   of all results; each job gets one of its own in it
    wishes   "verb"; "options" by their names; "model" or None; "preview", whether it is one

    Raises UsageError for what is not on the form, and for values that make no sense.
    """
    verb, given, is_preview = wishes.get("verb"), wishes.get("options", {}), bool(wishes.get("preview"))
    if not isinstance(verb, str) or not isinstance(given, dict):
        raise UsageError("wanted the name of a task as verb, and its options by their names")
    chosen = _chosen(verb, given)
    changed = [
        (field["label"], getattr(instance, field["name"]))
        for kind, instance in chosen.items()
        for field in _fields(kind)
        if getattr(instance, field["name"]) != field["default"]
    ]
    if (model := wishes.get("model")) is not None:
        if verb == _ENHANCE or model not in _models(_task(verb)):
            raise UsageError(f"no model for {verb} is called {model!r}; see `refilm models`")
        changed.append(("model", model))
    job_id = secrets.token_hex(8)
    steps = (_preview_steps if is_preview else _steps)(film, folder / job_id, verb, chosen, model)
    return Job(job_id, film.id, verb, titled(verb, changed), is_preview, tuple(steps))


def _chosen(verb: str, given: Mapping[str, Any]) -> dict[type, Any]:
    """The instances of the dataclasses of a command's options."""
    chosen, left = {}, dict(given)
    for kind in _kinds(verb):
        values = {
            field["name"]: _checked(field, left.pop(field["name"]))
            for field in _fields(kind)
            if left.get(field["name"]) is not None
        }
        chosen[kind] = kind(**values)
    left = {name: value for name, value in left.items() if value is not None}
    if left:
        raise UsageError(f"{verb} has no option {', '.join(sorted(left))} on this page")
    return chosen


def _checked(field: Mapping[str, Any], value: Any) -> Any:
    expected = {"switch": (bool,), "whole": (int,), "number": (int, float)}.get(field["type"], (str,))
    if not isinstance(value, expected) or (isinstance(value, bool) and field["type"] != "switch"):
        words = {"switch": "on or off", "whole": "a whole number", "number": "a number"}.get(field["type"], "text")
        raise UsageError(f"{field['name'].replace('_', '-')} is {words}, got {value!r}")
    return value


def _steps(film: Film, folder: Path, verb: str, chosen: Mapping[type, Any], model: str | None) -> Iterator[Step]:
    function, ending = _WRITING.get(verb, (verb, SUFFIX))
    if options.Encoding in chosen:
        ending = next(iter(purpose_of(chosen[options.Encoding].purpose).endings), ".mkv")
    name = safe_name(f"{Path(film.name).stem}-{verb}{ending}")
    yield Step(function, str(film.path), str(folder / name), _keywords(chosen, model) | {"leave_finished": True})


def _preview_steps(
    film: Film, folder: Path, verb: str, chosen: Mapping[type, Any], model: str | None
) -> Iterator[Step]:
    """The same seconds of the source and of the result, both encoded so that browsers play them."""
    if options.Encoding not in chosen:
        raise UsageError(f"a preview shows pictures, and {verb} makes none")
    running, encoding = chosen[options.Running], options.Encoding(purpose="browser", audio="none", subtitles="none")
    begin = Fraction(0)
    if running.from_time is not None:
        begin = options.moment(running.from_time)
    elif film.duration is not None:
        begin = max(begin, (Fraction(film.duration) - PREVIEW_SECONDS) / 2 // _MILLISECOND * _MILLISECOND)
    part = replace(running, from_time=str(begin), to_time=None)
    untouched = {options.Denoise: options.Denoise(strength=0.0), options.Encoding: encoding}
    before = untouched | {options.Running: replace(part, to_time=str(begin + PREVIEW_SECONDS))}
    after = {**chosen, options.Encoding: encoding, options.Running: replace(part, preview=PREVIEW_SECONDS)}
    for name, function, keywords in (
        ("before", "denoise", _keywords(before, None) | {"leave_finished": True}),
        (verb, verb, _keywords(after, model)),
    ):
        output = folder / safe_name(f"{Path(film.name).stem}-{name}.mp4")
        yield Step(function, str(film.path), str(output), keywords)


def _keywords(chosen: Mapping[type, Any], model: str | None) -> dict[str, Any]:
    """The keywords of a public function, in JSON's types."""
    keywords = {name: value for instance in chosen.values() for name, value in asdict(instance).items()}
    return keywords if model is None else keywords | {"model": model}
