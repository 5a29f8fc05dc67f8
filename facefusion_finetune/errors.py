"""What can go wrong, in words: what was given, why it fails, what to do."""

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
"""In messages of PyTorch, ONNX Runtime, CUDA, cuDNN (the last one also for a batch too large), MPS
and HPU."""


class FinetuneError(Exception):
    """A job failed. The command line prints it and ends with `exit_code`.

    Args:
        given: What was given, with its name or path.
        why: Why that fails.
        todo: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, given: str, why: str, todo: str) -> None:
        self.given = given
        self.why = why
        self.todo = todo
        super().__init__(f"{given}: {why} {todo}")

    def __reduce__(self) -> tuple[type["FinetuneError"], tuple[str, str, str]]:
        # An exception is rebuilt from its `args`, which hold the whole sentence, not the parts.
        return type(self), (self.given, self.why, self.todo)

    @property
    def cause(self) -> str:
        """What was given and why that fails, for a list that has no room for what to do."""
        return f"{self.given}: {self.why}"


class UsageError(FinetuneError):
    """The command was used wrongly; nothing was tried."""

    exit_code = 2


class ConsentError(FinetuneError):
    """No valid consent is on record for the person."""


class FootageError(FinetuneError):
    """Footage cannot be read, shows nobody, shows several people, or is refused."""


class UnreadableError(FootageError):
    """One file of the footage cannot be decoded."""


class DatasetError(FinetuneError):
    """The crops of a person do not suffice for what was asked."""


class SwapperError(FinetuneError):
    """An ONNX file is no swapper this package can tune, or does not convert."""


class TrainingError(FinetuneError):
    """A training run cannot start, go on or be resumed."""


class StoppedError(FinetuneError):
    """What was at work was asked to stop; it can be gone on with."""


class JobError(FinetuneError):
    """A job cannot be queued, found, read, stopped or removed."""


class EvaluationError(FinetuneError):
    """A model cannot be judged: no footage, no judge, or one that proves nothing."""


class RegistryError(FinetuneError):
    """A person's model cannot be found, written, activated or verified."""


class HostError(FinetuneError):
    """No FaceFusion was found, or the one found cannot be used."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one it was raised from, says that memory ran out.

    The libraries are told by the words of their messages, so that none has to be imported.
    """
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        # ONNX Runtime's own exceptions are no RuntimeError.
        is_library = isinstance(error, RuntimeError) or type(error).__module__.startswith(
            "onnxruntime."
        )
        if is_library and any(word in str(error) for word in _MEMORY_WORDS):
            return True
        error = error.__cause__
    return False
