"""What can go wrong, in words: what was given, why it fails, what to do."""


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
