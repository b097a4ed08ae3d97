"""For the site's reference: show docstrings as they are, since their columns would not survive as Markdown."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Module, Object

_BEGIN = "```text"


class PlainDocstrings(Extension):
    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None and not obj.docstring.value.startswith(_BEGIN):
            obj.docstring.value = f"{_BEGIN}\n{obj.docstring.value}\n```"

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        self.on_object(obj=pkg)
