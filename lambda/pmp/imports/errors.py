"""What is wrong with a file as a whole, and what is wrong with one of its lines."""


class FileError(ValueError):
    """The file cannot be imported as it is. The text says what was found and what to do; it quotes no personal data."""


class LineError(ValueError):
    """A line that is not an event.

    Attributes:
        code: a word for programs, from a closed set.
        pointer: JSON Pointer (RFC 6901) to the value in the line; empty for the whole line. In CSV, the column.
        detail: for people. Of the line, it quotes only names of fields, dates, yes and no, never personal data.
    """

    def __init__(self, code: str, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.pointer, self.detail = code, pointer, detail
