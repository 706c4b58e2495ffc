"""A librdkafka producer that goes on until it is killed, for metrics to be pushed (KIP-714)."""
import sys
from confluent_kafka import Producer

address, client, topic = sys.argv[1:]
p = Producer({"bootstrap.servers": address, "client.id": client})
while True:
    p.produce(topic, value="v")
    p.poll(0.1)
