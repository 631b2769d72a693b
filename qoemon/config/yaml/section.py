"""Base class of the configuration's sections: a pydantic model with rules between its keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qoemon.config.yaml.errors import KeyPath

UNEXPECTED_VALUE = "unexpected_value"
"""Type of the pydantic errors that `expecting` makes; `ctx` holds `expected` and `advice`."""
RULE_VIOLATIONS = "rule_violations"
"""Type of the pydantic error of a section whose rules do not hold; `ctx` holds the `violations`."""
RENAMED = "x-renamed"
"""Entry of the JSON Schema of a section with the former names of its keys."""


@dataclass(frozen=True)
class Violation:
    """A rule between keys that does not hold.

    path        the key to report, relative to the section
    expected    what the rule requires of it, as words after "expected"
    depends_on  the other keys that the rule reads, relative to the section: if one of them, or anything in one,
                has an error of its own, the violation is not reported, as it may only follow from that
    names_of    mappings of which the rule reads only the names of their keys, relative to the section
    """

    path: KeyPath
    expected: str
    depends_on: tuple[KeyPath, ...] = ()
    advice: str = ""
    names_of: tuple[KeyPath, ...] = ()


def key(description: str, default: Any = ..., **bounds: Any) -> Any:
    """A key of a section.

    default  as written in the file, and validated; without one the key is required
    """
    return Field(default, description=description, **bounds)


def expecting(expected: str, advice: str = "") -> PydanticCustomError:
    """The error for a validator of a single value to raise, such as expecting "a duration above 0"."""
    return PydanticCustomError(UNEXPECTED_VALUE, "expected {expected}", {"expected": expected, "advice": advice})


class Section(BaseModel):
    """A mapping in the file. A field `tick_s`, in seconds, is the key `tick`."""

    renamed: ClassVar[dict[str, str]] = {}
    """Keys of before the first release, by name, and what they are called now."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra=lambda schema, model: schema.update({RENAMED: model.renamed} if model.renamed else {}),
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
        """The keys only, for another process; cached properties are computed there."""
        state = super().__getstate__()
        keys = {name: value for name, value in state["__dict__"].items() if name in type(self).model_fields}
        return state | {"__dict__": keys}

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if violations := list(self.rules()):
            text = "; ".join(f"{violation.path}: expected {violation.expected}" for violation in violations)
            raise PydanticCustomError(RULE_VIOLATIONS, "{text}", {"text": text, "violations": violations})
        return self
