"""A web application that answers with what became of its event: ``python examples/web_app.py``.

Starts uvicorn on a free port with a broker in memory, plays three clients, and ends. In your own
project the part between the two lines is the application; `examples/task_api/` is a larger one.
"""

import asyncio
from typing import Annotated

import httpx2
import uvicorn
from fastapi import Depends, FastAPI

from eventpub import CRITICAL, Event, Publisher
from eventpub.contrib.fastapi import DeliveryBudgetMiddleware, error_responses, get_publisher, lifespan, readiness
from eventpub.transports.memory import MemoryBroker

# ---------------------------------------------------------------------------------------


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created."""

    task_id: str


broker = MemoryBroker()  # in production "kafka://h1:9092,h2:9092"
publisher = Publisher(broker, source="/task-api", profile=CRITICAL.replace(delivery_timeout=2))
app = FastAPI(lifespan=lifespan(publisher), exception_handlers=error_responses())
app.add_middleware(DeliveryBudgetMiddleware, default=2)
app.add_route("/ready", readiness)


@app.post("/tasks/{task_id}", status_code=201)
async def create_task(task_id: str, publisher: Annotated[Publisher, Depends(get_publisher)]) -> str:
    """Create a task; what goes wrong with its event is answered by `error_responses`."""
    return str(await publisher.publish(TaskCreated(task_id=task_id)))


# ---------------------------------------------------------------------------------------


async def main() -> None:
    """Serve, and ask three times: all is well, nobody is there, the acknowledgement never comes."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        print("ready:", (await client.get("/ready")).status_code)
        await ask(client, "41", "all is well")
        broker.down()
        await ask(client, "42", "no broker is there")
        broker.up()
        broker.lose_next_ack(times=1000)
        await ask(client, "43", "no acknowledgement comes back")
        broker.heal()
    server.should_exit = True
    await serving
    print(len(broker.records("tasks")), "events are in the log")


async def ask(client: httpx2.AsyncClient, task_id: str, situation: str) -> None:
    """Create a task and print the answer."""
    answer = await client.post(f"/tasks/{task_id}")
    again = f", retry after {answer.headers['retry-after']} s" if "retry-after" in answer.headers else ""
    print(f"{situation}: {answer.status_code}{again}\n  {answer.text}")


if __name__ == "__main__":
    asyncio.run(main())
