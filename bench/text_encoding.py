"""What to do with a text file that is not UTF-8."""

from __future__ import annotations

from pathlib import Path

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_MOST_BYTES = 2**28


def not_utf8(path: Path) -> str:
    """Where a file stops being UTF-8, what it probably is, and how it is converted; "" where it is UTF-8."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end >= _MOST_BYTES:  # cut by the limit within a letter
            return ""
        encoding = _MARKS.get(data[:2], "cp1252")
        line = data.count(b"\n", 0, error.start) + 1
        where = f"line {line} has the byte 0x{data[error.start]:02X}, which is no UTF-8"
        letter = data[error.start : error.start + 1].decode("cp1252", "ignore")
        guess = f" ({letter!r} in Windows' cp1252)" if encoding == "cp1252" and letter else ""
        looks_like = "" if guess else f"; it looks like {encoding}"
        return (
            f"{where}{guess}{looks_like}. Save it as UTF-8 (Excel: `CSV UTF-8`), or write "
            f"`iconv -f {encoding} -t utf-8 {path.name} > new.csv`"
        )
    return ""
