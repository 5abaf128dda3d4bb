"""The same faults on those that do the same job: ``python -m torture.peers``.

Each contender publishes the same events under the same budget to one Apache Kafka of three
nodes while that is being broken; then librdkafka reads the log, and what each call was told
is compared with it.
"""

from torture.peers.matrix import main, measure

__all__ = ["main", "measure"]
