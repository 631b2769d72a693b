"""A section of the file: a pydantic model whose keys obey rules together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qoemon.config.yaml.errors import KeyPath


@dataclass(frozen=True)
class Violation:
    """A rule that does not hold, at `where` within its section; `others` are keys it looks at too."""

    where: KeyPath
    expected: str
    others: tuple[KeyPath, ...] = ()
    advice: str = ""


def key(description: str, default: Any = ..., **bounds: Any) -> Any:
    """A key of a section. The default is written as in the file, and checked; without one it must be given."""
    return Field(default, description=description, **bounds)


def expecting(expected: str, advice: str = "") -> PydanticCustomError:
    """The error of a value that is not what is expected."""
    return PydanticCustomError("unlike", "expected {expected}", {"expected": expected, "advice": advice})


class Section(BaseModel):
    """A mapping of the file. Names that end in _s, for seconds, are keys without it in the file."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,  # one validator for the whole file, not one for each section too
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.removesuffix("_s"),
        field_title_generator=lambda name, _: name.removesuffix("_s"),
    )

    def rules(self) -> Iterator[Violation]:
        """The rules between keys that do not hold."""
        yield from ()

    def __getstate__(self) -> dict[Any, Any]:
        """What another process gets: what was worked out from the keys, it works out again."""
        state = super().__getstate__()
        keys = {name: value for name, value in state["__dict__"].items() if name in type(self).model_fields}
        return state | {"__dict__": keys}

    @model_validator(mode="after")
    def _keep_the_rules(self) -> Self:
        if broken := list(self.rules()):
            text = "; ".join(f"{rule.where}: expected {rule.expected}" for rule in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self
