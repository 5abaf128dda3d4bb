"""The whole preflight: connects, asks, and lets the rules judge. Decides the order, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace

from eventpub.check import access, clock, connecting, dead_letters, spool, topics
from eventpub.check.asking import AskingError, Inquiry, NobodyAnsweredError
from eventpub.check.clock import Skew
from eventpub.check.facts import UNKNOWN_TOPIC, Absent, Topic, Topics
from eventpub.check.finding import Finding, Grade, not_checked
from eventpub.check.plan import Plan, Route, SpoolPlace, TopicPlace
from eventpub.check.report import Report
from eventpub.config import Address, KafkaConfig
from eventpub.exceptions import ConfigurationError, EventPubError
from eventpub.profile import STANDARD
from eventpub.publisher import Publisher

_ANSWERS_UNKNOWN = 4
_BETWEEN = 0.25
"""As many answers, and seconds between them, as the publisher's own rule has before a topic is unknown."""


async def check(plan: Plan, write_probe: str | None = None) -> Report:
    """Return what would go wrong for the application that *plan* describes.

    Takes two connection attempts and three questions at most, each with its limit of the config.

    Args:
        plan: the application.
        write_probe: a topic to write one record to, for the clock; default: write nothing anywhere.
    """
    run = _Run(plan, write_probe, [*plan.faults])
    await run.cluster()
    await run.keeping()
    return Report.of(str(plan.config.bootstrap_servers), run.brokers, run.looked_at, run.findings)


@dataclass(slots=True)
class _Run:
    """One run: what it has found so far."""

    plan: Plan
    write_probe: str | None
    findings: list[Finding] = field(default_factory=list)
    brokers: int = 0
    facts: Topics = field(default_factory=dict)
    looked_at: tuple[str, ...] = ()
    discovered: bool = False

    async def cluster(self) -> None:
        """Look at the publisher's own cluster."""
        with self._asking("topics, rights and clock", self.plan.config):
            address = await self._connect(self.plan.config)
            async with self._inquiry(self.plan.config) as inquiry:
                await self._topics(inquiry)
            await self._clock(address)

    async def keeping(self) -> None:
        """Look at what is kept of failures: whether anything is, spools, topics of other clusters."""
        self.findings += dead_letters.missing(self.plan)
        spools = [place for place in self.plan.places or () if isinstance(place, SpoolPlace)]
        self.findings += await asyncio.to_thread(lambda: list(spool.judge(spools)))
        for place in dict.fromkeys(place for _, place in self.plan.letters()):
            if place.config is not None:
                with self._asking(f"dead-letter topics {place.template}", place.config):
                    await self._elsewhere(place, place.config)

    @contextlib.contextmanager
    def _asking(self, subject: str, config: KafkaConfig) -> Iterator[None]:
        """Let a question that cannot be put be a finding, and not the end."""
        try:
            yield
        except ConfigurationError as error:
            self.findings += connecting.configuration(error)
        except AskingError as error:
            self.findings.append(_unasked(subject, error, config))

    async def _connect(self, config: KafkaConfig) -> Address:
        """Connect as the application does; return a broker that can be asked."""
        contacts = await connecting.connect(config, self.plan.client_id)
        self.findings += connecting.judge(contacts, config)
        if config is self.plan.config:
            self.brokers = len(contacts.brokers)
        if not contacts.brokers:
            raise NobodyAnsweredError("no broker answered")
        if contacts.usable is None:
            raise NobodyAnsweredError("no broker can be reached where it says that it listens")
        return contacts.usable

    @contextlib.asynccontextmanager
    async def _inquiry(self, config: KafkaConfig) -> AsyncIterator[Inquiry]:
        inquiry = await asyncio.to_thread(Inquiry, config, self.plan.client_id, await _token(config))
        try:
            yield inquiry
        finally:
            await asyncio.to_thread(inquiry.close)

    async def _topics(self, inquiry: Inquiry) -> None:
        """Look at the topics of the plan, and at those in this cluster where their dead letters go."""
        if not self.plan.routes:
            await self._discover(inquiry)
        own = [(route, place) for route, place in self.plan.letters() if place.config is None]
        names = [route.topic for route in self.plan.routes] + [place.topic_for(route.topic) for route, place in own]
        wanted = {*names, self.write_probe} if self.write_probe else set(names)
        self.facts = {**self.facts, **await _facts(inquiry, wanted - self.facts.keys())}
        self.looked_at = tuple(name for name in dict.fromkeys(names) if self._counts(self.facts[name]))
        for route in self.plan.routes:
            self.findings += _judged(self.facts[route.topic], route)
        self._letters(self.facts, own)

    async def _discover(self, inquiry: Inquiry) -> None:
        """Look at every topic that this client may write to, as if somebody had named it."""
        names = await asyncio.to_thread(inquiry.names)
        self.facts, self.discovered = await asyncio.to_thread(inquiry.topics, names), True
        templates = [place for place in self.plan.places or () if isinstance(place, TopicPlace)]
        for_letters = {place.topic_for(name) for place in templates for name in names}
        writable = [topic.name for topic in self.facts.values() if isinstance(topic, Topic) and _may_write(topic)]
        routes = (Route(name, self.plan.default) for name in writable if name not in for_letters)
        self.plan = replace(self.plan, routes=tuple(routes))
        if not writable:
            reason = f"nobody named one, and of {len(names)} that can be seen none may be written to"
            self.findings.append(not_checked("topics", reason, "name them: --topic NAME, or --app module:publisher"))

    def _letters(self, facts: Topics, led: Iterable[tuple[Route, TopicPlace]]) -> None:
        """Judge by *facts* the topics where the dead letters of these routes go."""
        for route, place in led:
            letters = facts[place.topic_for(route.topic)]
            if self._counts(letters):
                self.findings += dead_letters.judge(letters, self.facts.get(route.topic))

    def _counts(self, topic: Topic | Absent) -> bool:
        """Whether it matters that *topic* is not there: a topic that nobody named need not have dead letters."""
        return isinstance(topic, Topic) or not self.discovered

    async def _elsewhere(self, place: TopicPlace, config: KafkaConfig) -> None:
        await self._connect(config)
        led = [(route, there) for route, there in self.plan.letters() if there == place]
        async with self._inquiry(config) as inquiry:
            facts = await _facts(inquiry, {place.topic_for(route.topic) for route, _ in led})
        self._letters(facts, led)

    async def _clock(self, address: Address) -> None:
        """Compare the clocks; after the topics, whose limits say what a difference does."""
        skews = [await clock.ask_controller(address, self.plan.config, self.plan.client_id)]
        if self.write_probe is not None:
            skews.append(await self._probe(self.facts[self.write_probe]))
        measured = [skew for skew in skews if skew is not None]
        written_to = [fact for route in self.plan.routes if isinstance(fact := self.facts[route.topic], Topic)]
        for skew in measured:
            self.findings += clock.judge(skew, written_to)
        if not measured:
            self.findings.append(clock.unmeasured())

    async def _probe(self, topic: Topic | Absent) -> Skew | None:
        if (unfit := clock.unfit(topic)) is not None:
            self.findings.append(unfit)
            return None
        try:
            async with Publisher(self.plan.config, profile=STANDARD, client_id=self.plan.client_id) as publisher:
                return await clock.probe(publisher, topic.name)
        except EventPubError as error:
            self.findings.append(clock.failed(topic.name, error))
            return None


async def _facts(inquiry: Inquiry, names: Iterable[str]) -> Topics:
    """Ask for the topics called *names*; again, if they are unknown: a new one is not known to every broker at once."""
    facts = dict(await asyncio.to_thread(inquiry.topics, names))
    for _ in range(_ANSWERS_UNKNOWN - 1):
        unknown = [name for name, topic in facts.items() if isinstance(topic, Absent) and topic.code == UNKNOWN_TOPIC]
        if unknown:
            await asyncio.sleep(_BETWEEN)
            facts |= await asyncio.to_thread(inquiry.topics, unknown)
    return facts


def _judged(topic: Topic | Absent, route: Route) -> Iterator[Finding]:
    yield from access.judge(topic, f"topic {route.topic}")
    if isinstance(topic, Topic):
        yield from topics.judge(topic, route)


def _may_write(topic: Topic) -> bool:
    return topic.operations is None or "WRITE" in topic.operations


async def _token(config: KafkaConfig) -> str | None:
    if config.sasl_token_provider is None:
        return None
    try:
        return await config.sasl_token_provider()
    except Exception as error:
        raise AskingError(f"sasl_token_provider raised {type(error).__name__}") from error


def _unasked(subject: str, error: AskingError, config: KafkaConfig) -> Finding:
    """Say what was not looked at because of trouble: a warning, because a sound cluster would have answered."""
    fix = "see the other findings, and run the check again"
    if isinstance(error, NobodyAnsweredError):
        return not_checked(subject, str(error), "see the errors")
    if config.ssl_context is not None:
        fix = "an ssl_context with a client certificate cannot be handed to librdkafka: check as a user with a password"
    return Finding(Grade.WARNING, "not-asked", subject, f"not looked at: {error}", fix)
