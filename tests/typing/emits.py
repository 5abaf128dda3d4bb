"""What type checkers see of `emits` and of a portal. Checked, never run."""

from collections.abc import Callable
from typing import assert_type

from eventpub import Delivery, DeliveryReports, Event, Publisher, Record, emits
from eventpub.portal import Portal


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    task_id: str


@emits("task.created")
async def create(title: str, *, owner: int = 0) -> TaskCreated:
    return TaskCreated(task_id=title)


@emits(TaskCreated, topic="t", key="task_id", profile="critical", wait=False, on_failure="log")
def create_plainly(title: str) -> dict[str, str]:
    return {"task_id": title}


def task_deleted(deleted: bool, task_id: str) -> dict[str, str] | None:  # noqa: FBT001 - a result comes first
    return {"task_id": task_id} if deleted else None


class Service:
    @emits("task.created", key=lambda task: task["task_id"])
    async def create(self, title: str) -> dict[str, str]:
        return {"task_id": title}

    @classmethod
    @emits(TaskCreated)
    def create_plainly(cls, title: str) -> list[TaskCreated]:
        return [TaskCreated(task_id=title)]

    @staticmethod
    @emits("task.deleted", map=task_deleted)
    async def delete(task_id: str) -> bool:
        return bool(task_id)


async def calls(service: Service) -> None:
    assert_type(await create("x", owner=1), TaskCreated)
    assert_type(create_plainly("x"), dict[str, str])
    assert_type(await service.create("x"), dict[str, str])
    assert_type(Service.create_plainly("x"), list[TaskCreated])
    assert_type(await Service.delete(task_id="x"), bool)


async def wrong_calls(service: Service) -> None:
    await create(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await create("x", owner="y")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await service.create()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    create_plainly("x", 1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def wrong_arguments() -> None:
    emits(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    emits("task.created", on_failure="ignore")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    emits("task.created", timeout=5)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def explicit(publisher: Publisher) -> None:
    @emits("task.created", publisher=publisher)
    def act() -> int:
        return 5

    as_callable: Callable[[], int] = act
    assert_type(as_callable(), int)


def threads(publisher: Publisher) -> None:
    portal = publisher.portal()
    assert_type(portal, Portal)
    assert_type(portal.publish(TaskCreated(task_id="1"), timeout=5), Delivery)
    assert_type(portal.publish_many([Record("t", b"v")], topic="u"), DeliveryReports)
    assert_type(portal.call(publisher.wait_ready, 5), None)
    portal.publish("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    portal.publish_many([], key="k")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    portal.call(publisher.wait_ready)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    with publisher.bind() as bound:
        assert_type(bound, Publisher)
