"""Types of the values in the configuration.

Each type has its JSON Schema, for editors and for error messages. `$comment` in it is what was expected, in words,
where words made from the schema would be unclear.
"""

from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from qoemon.common import duration, size
from qoemon.config.sections import names as naming
from qoemon.config.yaml.document import FromEnv, plain_scalar, read_text
from qoemon.config.yaml.section import expecting


def number(value: object) -> object:
    """Read an environment variable, which is text, as a number. A boolean is no number (in Python it is)."""
    if isinstance(value, bool):
        raise ValueError("a boolean")
    return plain_scalar(value) if isinstance(value, FromEnv) else value


def first_secret(*secrets: SecretStr | None) -> str | None:
    """The first secret that is given, in clear text."""
    return next((secret.get_secret_value() for secret in secrets if secret is not None), None)


def _seconds(value: object) -> float:
    expected = f"a duration with its unit, such as {duration.EXAMPLES}"
    if not isinstance(value, str):
        number = isinstance(value, int) and not isinstance(value, bool)
        raise expecting(expected, f'did you mean "{value}s"?' if number else "")
    try:
        length_s = duration.seconds(value)
    except ValueError:
        raise expecting(expected) from None
    if length_s <= 0:
        raise expecting("a duration above 0")
    return length_s


def _pause(value: object) -> float:
    """A duration that may be 0."""
    return 0.0 if value == "0s" else _seconds(value)


def _whole_seconds(value: object) -> int:
    length_s = _seconds(value)
    if length_s != int(length_s):
        raise expecting("a duration of whole seconds")
    return int(length_s)


def _bytes(value: object) -> object:
    value = number(value)
    return size.byte_count(value) if isinstance(value, str) else value


def _file(value: Path, info: ValidationInfo) -> Path:
    """The path of a readable file. A relative name starts at the folder of the configuration."""
    folder: Path = (info.context or {}).get("folder", Path())
    path = folder / value
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable((error.strerror or str(error)).lower(), folder) from None
    return path


def _directory(value: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _unreadable(reason: str, folder: Path) -> PydanticCustomError:
    """The error has no path: its text may be a secret in the wrong key."""
    return expecting("a file that can be read", f"{reason}; relative names start at {folder.absolute()}")


def read_secret(path: Path) -> str:
    """The content of a file with a secret, without its final line end.

    raises   ValueError with the reason if there is none
    """
    text = read_text(path).removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("the file is empty")
    return text


def _secret_path(value: object, info: ValidationInfo) -> Path:
    """The path of a readable file with a secret in it."""
    if not isinstance(value, str | Path):
        raise expecting("the name of a file")
    path = _file(Path(value), info)
    try:
        read_secret(path)
    except ValueError as error:
        raise expecting("a file with the secret in it, not an empty one", str(error)) from None
    return path


def _host(value: str) -> str:
    if not value or any(char.isspace() or char in "/@" for char in value):
        raise expecting("a host name or an IP address alone", "the port has its own key, a scheme is not needed")
    return value


def split_address(value: str) -> tuple[str, int | None]:
    """Host and port of an address such as broker.example.org:8883 or [2001:db8::1]; port None if it has none.

    raises   ValueError if it is not an address
    """
    if value.startswith("["):
        host, _, after = value[1:].partition("]")
        IPv6Address(host if "]" in value else "")
        colon, port = after[:1], after[1:]
    else:
        host, colon, port = value.partition(":")
        _host(host)
    if colon not in {"", ":"} or (colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535)):
        raise ValueError("no port")
    return host, int(port) if colon else None


def _address(value: str) -> str:
    try:
        split_address(value)
    except (ValueError, PydanticCustomError):
        raise expecting(ADDRESS, "a scheme is not needed; an IPv6 address needs brackets") from None
    return value


def _label(value: str) -> str:
    if fault := naming.label_fault(value):
        raise expecting(fault)
    return value


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": duration.PATTERN,
    "$comment": f"a duration such as {duration.EXAMPLES}",
}
_FILE_SCHEMA = {"type": "string", "$comment": "the name of a file"}

Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA)]
WholeSeconds = Annotated[int, BeforeValidator(_whole_seconds), WithJsonSchema(_DURATION_SCHEMA)]
Pause = Annotated[float, BeforeValidator(_pause), WithJsonSchema(_DURATION_SCHEMA)]
Bytes = Annotated[
    int,
    Strict(),
    Field(ge=1),
    BeforeValidator(_bytes),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": size.PATTERN,
            "$comment": 'a size such as "64MiB" or a whole number of bytes above 0',
        }
    ),
]
Count = Annotated[int, Strict(), Field(ge=1, le=10**12), BeforeValidator(number)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535), BeforeValidator(number)]
Real = Annotated[float, Strict(), BeforeValidator(number)]
Share = Annotated[float, Strict(), Field(gt=0, lt=1), BeforeValidator(number)]
ADDRESS = "an address such as broker-1.example.org, broker-2.example.org:8883 or [2001:db8::1]:8883"
Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "$comment": ADDRESS})]
"""A host with or without a port; split_address reads it."""
Host = Annotated[str, AfterValidator(_host)]
File = Annotated[Path, AfterValidator(_file), WithJsonSchema(_FILE_SCHEMA)]
Directory = Annotated[
    Path, AfterValidator(_directory), WithJsonSchema({"type": "string", "$comment": "a directory"})
]
# writeOnly: errors do not show the value, since it may be the secret itself instead of a file name.
SecretPath = Annotated[Path, BeforeValidator(_secret_path), WithJsonSchema({**_FILE_SCHEMA, "writeOnly": True})]
"""A file with a secret that may change while qoemon runs: it is read again at each use, with read_secret."""
Label = Annotated[str, AfterValidator(_label)]
ServiceName = Annotated[str, Field(pattern=naming.SERVICE_PATTERN)]
