"""confluent-kafka (librdkafka) as testdata/README.md describes the clients."""
import sys
from confluent_kafka import Consumer, Producer

address, what, name, *rest = sys.argv[1:]
topics = dict(a.rsplit("=", 1) for a in rest)

if what == "produce":
    for topic, codec in topics.items():
        failed = []
        p = Producer({"bootstrap.servers": address, "compression.codec": codec, "partitioner": "murmur2_random",
                      "enable.idempotence": True, "linger.ms": 20})
        for i in range(50):
            p.produce(topic, key=f"key-{i}", value=f"{name} {codec} {i} " + "abc" * 50, headers=[("client", name)],
                      on_delivery=lambda err, m: err and failed.append(err))
        if p.flush(30) or failed:
            sys.exit(f"not delivered: {failed}")
else:
    c = Consumer({"bootstrap.servers": address, "group.id": name, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    c.subscribe(list(topics))
    left = sum(map(int, topics.values()))
    while left:
        m = c.poll(30)
        if m is None or m.error():
            sys.exit(f"poll: {m and m.error()}, {left} left")
        print(m.topic(), m.key().decode(), dict(m.headers())["client"].decode(), m.value().decode(), sep="|")
        left -= 1
    c.commit(asynchronous=False)
    c.close()
