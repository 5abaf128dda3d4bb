"""FastAPI and Starlette: a publisher that lives as long as the application, and answers that tell the truth.

::

    app = FastAPI(
        lifespan=lifespan(Publisher("kafka://localhost:9092", source="/task-api")),
        exception_handlers=error_responses(),
    )
    app.add_middleware(DeliveryBudgetMiddleware, default=5)
    app.add_route("/ready", readiness)

    @app.post("/tasks", status_code=201)
    async def create(task: NewTask, publisher: Annotated[Publisher, Depends(get_publisher)]) -> Receipt: ...

Starlette alone suffices: nothing here imports FastAPI.
"""

from eventpub.contrib.fastapi.budget import DeliveryBudgetMiddleware
from eventpub.contrib.fastapi.dependency import get_publisher
from eventpub.contrib.fastapi.handlers import error_responses, install_error_responses
from eventpub.contrib.fastapi.lifespan import lifespan
from eventpub.contrib.fastapi.readiness import readiness

__all__ = [
    "DeliveryBudgetMiddleware",
    "error_responses",
    "get_publisher",
    "install_error_responses",
    "lifespan",
    "readiness",
]
