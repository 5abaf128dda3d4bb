"""A worker that ends well: ``python examples/worker.py [kafka://localhost:9092]``, then Ctrl-C or SIGTERM.

A few jobs at once, each done only when its event is in the log. On the first signal it
takes no more jobs, finishes those it has, and drains; a second signal hurries it.
"""

import asyncio
import itertools
import signal
import sys
from collections.abc import Iterator

from eventpub import DrainReport, Event, Publisher, PublishError
from eventpub.transports.memory import MemoryBroker

AT_ONCE = 8


class JobDone(Event, type="job.done", topic="jobs", key="job"):
    """A job is done."""

    job: int


class WorkerStopped(Event, type="worker.stopped", topic="workers"):
    """A worker takes no more jobs."""

    jobs_done: int


async def work(publisher: Publisher, jobs: Iterator[int], stop: asyncio.Event) -> int:
    """Do one job after the other until *stop*; return how many were done."""
    done = 0
    while not stop.is_set():
        job = next(jobs)
        await asyncio.sleep(0.01)  # the job itself
        try:
            await publisher.publish(JobDone(job=job))
        except PublishError as error:
            print(f"job {job} stays open: {error}")
        else:
            done += 1
    return done


async def finish(publisher: Publisher, workers: asyncio.Future[list[int]]) -> None:
    """Let the workers end, say so, and drain."""
    done = sum(await asyncio.shield(workers))
    print(f"{done} jobs done")
    publisher.publish_nowait(WorkerStopped(jobs_done=done))  # nobody waits for this one but the drain
    await publisher.aclose(timeout=10)


async def drain(publisher: Publisher, workers: asyncio.Future[list[int]], hurry: asyncio.Event) -> DrainReport:
    """Finish, or stop finishing when somebody hurries; return what the close left open."""
    finishing = asyncio.create_task(finish(publisher, workers))
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait([finishing, hurrying], return_when=asyncio.FIRST_COMPLETED)
    finishing.cancel()
    hurrying.cancel()
    await asyncio.wait([finishing, hurrying])
    report = await publisher.aclose(0)  # closes at once, or repeats what the close above reported
    await workers  # those that were still publishing have been told their outcome
    return report


async def main(target: str | MemoryBroker) -> int:
    """Work until a signal comes; return the exit status."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    publisher = Publisher(target, source="/worker")
    await publisher.open()
    jobs = itertools.count()
    workers = asyncio.gather(*(work(publisher, jobs, stop) for _ in range(AT_ONCE)))
    print(f"{AT_ONCE} jobs at once, until Ctrl-C", flush=True)
    await stop.wait()
    print("finishing", flush=True)
    report = await drain(publisher, workers, hurry)
    print(f"closed: {report}")
    for error in report.unconfirmed:
        print(f"  {error.event_id}: {error.status.value}")
    return 1 if report.unconfirmed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else MemoryBroker())))
