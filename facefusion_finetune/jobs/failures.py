"""What a user is told about an error that ended a job."""

from facefusion_finetune.errors import FinetuneError, is_out_of_memory
from facefusion_finetune.jobs.record import Failure

MEMORY_TODO = (
    "Close other programs that use the GPU or much memory, FaceFusion's own preview among them, or"
    " choose a smaller base or preset."
)


def explain(error: BaseException, given: str) -> Failure:
    """Words for an error.

    Args:
        error: Any.
        given: What was at work, for errors that do not say.
    """
    if isinstance(error, FinetuneError):
        return Failure.of(error)
    if is_out_of_memory(error):
        return Failure(given=given, why="the memory did not suffice.", todo=MEMORY_TODO)
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            given=f"the Python module {error.name}",
            why="it is not installed; FaceFusion's environment brings it.",
            todo="Install facefusion-finetune into the Python environment FaceFusion runs in.",
        )
    if isinstance(error, OSError):
        return Failure(
            given=str(error.filename or given),
            why=f"{error.strerror or error}.",
            todo="Check the path, your rights and the room on the disk, then start it again; what"
            " was there is kept.",
        )
    return Failure(
        given=given,
        why=f"an error nobody foresaw ended it ({type(error).__name__}: {error}).",
        todo="The log shows where. Start it again; if it comes back, report it with the log.",
    )
