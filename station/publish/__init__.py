"""The way out: MQTT 5 to one broker, on a thread of its own. No call here waits for network or disk.

    outbox = Outbox(path, max_rows=config.outbox.max_rows)          # station.outbox
    publisher = Publisher(Link(host, port, root=config.topic_root), outbox, version="0.1.0", on_command=inbox.put)
    publisher.start()                                               # connects, and reconnects for ever
    publisher.say("state", wire.state_json(...))                    # status, state, health, live: the newest counts
    publisher.record("stride", wire.stride_json(...))               # stride, session, cue: outbox first, then QoS 1
    publisher.answer(command, ok=True)                              # commands come in through on_command
    publisher.erase("4f9c2b7e")                                     # forget a session: outbox and retained message
    publisher.stats()                                               # counters for health
    publisher.close(timeout_s=5)                                    # flushes within the bound, says offline
    outbox.close()

``publisher.trouble`` is the :class:`~station.errors.BrokerError` that keeps it from being connected, or ``None``;
``publisher.wait_connected(timeout_s)`` raises it. ``on_command`` is called on the publisher's thread with a sound
:class:`Command` and must not wait: put it in a queue, and answer when it is done.

What happens to a message when the broker is away, or dies:

- ``live`` and ``health`` (QoS 0): only the newest of each is kept for the next chance; the rest is dropped and counted.
- ``status`` and ``state`` (retained): the newest is published again at every connect.
- ``stride``, ``session``, ``cue``: every one waits in the outbox until a broker accepts it, in order, at most
  :data:`~station.publish.connection.WINDOW` under way. A broker that is killed takes with it what it had accepted and
  not yet handed on or written down; so after every lost connection the last
  :data:`~station.publish.records.REWIND_S` seconds before it are sent once more, and receivers drop what they know by
  (station, session, seq).
- A record that the broker's access list refuses keeps waiting; its topic is tried again every
  :data:`~station.publish.records.HOLD_S` seconds.

``connection`` is one connection and the only code that knows paho, ``records`` brings the outbox's rows, ``sayings``
the rest, ``publisher`` puts them together.
"""

from station.publish.connection import Link
from station.publish.publisher import LinkStats, Publisher
from station.wire.commands import Command

__all__ = ["Command", "Link", "LinkStats", "Publisher"]
