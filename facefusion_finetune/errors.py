"""The package's exceptions; each says what was given, why it fails and what to do."""

_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "Failed to allocate memory",
    "PT_DEVMEM Allocation failed",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",
)
"""Parts of messages of PyTorch, ONNX Runtime, CUDA, cuDNN (the last one also if a batch is too
large), MPS and HPU."""

MAX_PART = 500
"""Characters of one part of a message; names and values quoted in it may be of any length."""


def cut_middle(text: str, length: int) -> str:
    """A text of at most `length` characters; the middle is cut if it is longer."""
    if len(text) <= length:
        return text
    kept = max(0, length - 3)
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def to_line(text: str) -> str:
    """A text that quotes users and files, as one line: what cannot be printed becomes `?`."""
    return "".join(
        " " if sign in "\r\n\t" else sign if sign.isprintable() else "?" for sign in text
    )


def to_message(text: str) -> str:
    """Like `to_line`, of at most `MAX_PART` characters."""
    return cut_middle(to_line(text), MAX_PART)


class FinetuneError(Exception):
    """An operation failed. The command line prints the error and exits with `exit_code`.

    Each part becomes one printable line of limited length; see `to_message`.

    Args:
        given: What was given, with its name or path.
        why: Why it fails.
        todo: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, given: str, why: str, todo: str) -> None:
        self.given, self.why, self.todo = map(to_message, (given, why, todo))
        super().__init__(f"{self.given}: {self.why} {self.todo}")

    def __reduce__(self) -> tuple[type["FinetuneError"], tuple[str, str, str]]:
        # An exception is rebuilt from its `args`, which hold the whole sentence, not the parts.
        return type(self), (self.given, self.why, self.todo)

    @property
    def cause(self) -> str:
        """What was given and why it fails, for lists without room for what to do."""
        return f"{self.given}: {self.why}"


class UsageError(FinetuneError):
    """The command was used incorrectly; nothing was attempted."""

    exit_code = 2


class ConsentError(FinetuneError):
    """No valid consent is on record for the person."""


class BusyError(FinetuneError):
    """Another command is at work on the same person."""


class FootageError(FinetuneError):
    """Footage cannot be read, shows nobody, shows several people, or is refused."""


class UnreadableError(FootageError):
    """One file of the footage cannot be decoded."""


class DatasetError(FinetuneError):
    """The person's crops are insufficient for what was requested."""


class SwapperError(FinetuneError):
    """An ONNX file is not a swapper this package can tune, or cannot be converted."""


class TrainingError(FinetuneError):
    """A training run cannot start, continue or be resumed."""


class StoppedError(FinetuneError):
    """The operation was asked to stop; it can be resumed."""


class JobError(FinetuneError):
    """A job cannot be queued, found, read, stopped or removed."""


class EvaluationError(FinetuneError):
    """A model cannot be evaluated: there is no footage, no judge, or the judge is unreliable."""


class RegistryError(FinetuneError):
    """A person's model cannot be found, written, activated or verified."""


class HostError(FinetuneError):
    """No FaceFusion was found, or the one found cannot be used."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, means that memory ran out.

    Library errors are recognised by their messages, so that no library has to be imported.
    """
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        # ONNX Runtime's own exceptions are not derived from RuntimeError.
        is_library = isinstance(error, RuntimeError) or type(error).__module__.startswith(
            "onnxruntime."
        )
        if is_library and any(word in str(error) for word in _MEMORY_WORDS):
            return True
        error = error.__cause__
    return False
