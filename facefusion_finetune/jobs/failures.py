"""Messages for errors that end a job."""

from facefusion_finetune.errors import FinetuneError, is_out_of_memory
from facefusion_finetune.jobs.record import Failure

MEMORY_TODO = (
    "Close other programs that use the GPU or much memory, including FaceFusion's own preview, or"
    " choose a smaller base or preset."
)


def explain(error: BaseException, given: str) -> Failure:
    """Describe an error.

    Args:
        error: Any exception.
        given: The job, for errors that do not name their subject.
    """
    if isinstance(error, FinetuneError):
        return Failure.of(error)
    if is_out_of_memory(error):
        return Failure(given=given, why="it ran out of memory.", todo=MEMORY_TODO)
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            given=f"the Python module {error.name}",
            why="it is not installed; FaceFusion's environment includes it.",
            todo="Install facefusion-finetune into FaceFusion's Python environment.",
        )
    if isinstance(error, OSError):
        return Failure(
            given=str(error.filename or given),
            why=f"{error.strerror or error}.",
            todo="Check the path, its permissions and the free disk space, then start the job"
            " again; existing files are kept.",
        )
    return Failure(
        given=given,
        why=f"an unexpected error occurred ({type(error).__name__}: {error}).",
        todo="See the log. Start it again; if the error recurs, report it with the log.",
    )
