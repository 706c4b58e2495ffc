"""Works Kaskade's screens, without a terminal, and prints what they show.

kaskade_ui.py BOOTSTRAP PREFIX works the topics and groups that begin with PREFIX. Each
line of the output is [what was done, what is shown].
"""

import asyncio
import json
import sys
import time

from kaskade.admin import KaskadeAdmin, ListTopics
from kaskade.consumer import KaskadeConsumer, ListRecords
from kaskade.deserializers import Deserialization
from kaskade.models import MetricState, PartitionOffset, PartitionSelection
from kaskade.timeouts import TimeoutConfig
from textual.widgets import DataTable, Input, RadioButton

LIMIT = 60  # seconds that anything may take
bootstrap, prefix = sys.argv[1:]
config = {"bootstrap.servers": bootstrap}


def say(what, shown):
    print(json.dumps([what, shown]), flush=True)


def rows(table):
    return [[str(cell) for cell in table.get_row_at(i)] for i in range(table.row_count)]


async def wait(pilot, what, condition):
    end = time.monotonic() + LIMIT
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        await pilot.pause(0.02)
    await pilot.pause()
    return value


def telling(app):
    """app with a list of the notes that it shows, but for those of a refresh that met a
    topic of which the broker does not know enough yet: the next one knows."""
    app.notes, notify = [], app.notify

    def note(message, *, title="", **kwargs):
        if title != "Partial Refresh":
            app.notes.append(f"{title}: {message}")
        notify(message, title=title, **kwargs)

    app.notify = note
    return app


async def until(what, attempt, good):
    """repeats attempt until its result is good: what was changed is not shown at once."""
    end = time.monotonic() + LIMIT
    while not good(result := await attempt()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: {result}")
    return result


def ready(topic):
    return topic.records_state is MetricState.READY and topic.groups_state is MetricState.READY


class Admin:
    def __init__(self, pilot):
        self.pilot, self.app = pilot, pilot.app
        self.list = self.app.query_one(ListTopics)

    async def note(self):
        await wait(self.pilot, "a note", lambda: self.app.notes)
        return self.app.notes.pop(0)

    async def screen(self, name):
        await wait(self.pilot, name, lambda: type(self.app.screen).__name__ == name)
        return self.app.screen

    async def press(self, key):
        """presses a key of the list, whose table loses the focus while it loads."""
        await wait(self.pilot, "the list", lambda: len(self.app.screen_stack) == 1)
        table = self.app.query_one("#topics-table", DataTable)
        await wait(self.pilot, "the table", lambda: not table.loading and table.focus().has_focus)
        await self.pilot.press(key)

    async def refresh(self):
        before = self.list.last_updated_at
        await self.press("ctrl+r")
        await wait(self.pilot, "a refresh", lambda: self.list.last_updated_at != before)

    async def topics(self):
        """refreshes, and returns the topics that are known."""
        await self.refresh()
        return self.list.topics

    async def listed(self):
        mine = lambda topics: [topics[name] for name in topics if name.startswith(prefix)]
        await until("metrics", self.topics, lambda topics: all(map(ready, mine(topics))))
        await self.filter(prefix)
        return rows(self.app.query_one("#topics-table", DataTable))

    async def find(self, name):
        """goes to a topic, once it is known with its numbers."""
        await until(name, self.topics, lambda topics: name in topics and ready(topics[name]))
        await self.filter(name)
        await wait(self.pilot, name, lambda: self.list.current_topic and self.list.current_topic.name == name)

    async def filter(self, text):
        await self.press("ctrl+f")
        screen = await self.screen("FilterTopicsScreen")
        screen.query_one("#topic-filter", Input).value = text
        await self.pilot.press("enter")
        await wait(self.pilot, "the filter", lambda: self.list.current_filter == text)

    async def describe(self, name):
        await self.find(name)
        await self.press("d")
        screen = await self.screen("DescribeTopicScreen")
        shown = {label: value for _, label, value in screen._metadata()}
        for table in screen.query(DataTable):
            shown[table.id] = sorted(rows(table))
        await self.pilot.press("escape")
        await self.screen("Screen")
        return shown

    async def create(self, name, policy="delete", **fields):
        await self.press("n")
        await self.fill(await self.screen("CreateTopicScreen"), policy, name=name, **fields)
        return await self.note()

    async def edit(self, name, policy=None, **fields):
        await self.find(name)
        await self.press("e")
        screen = await self.screen("EditTopicScreen")
        await self.fill(screen, policy, **fields)
        return await self.note()

    async def fill(self, screen, policy, **fields):
        for field, value in fields.items():
            screen.query_one(f"#{field}", Input).value = str(value)
        for button in screen.query(RadioButton):
            if policy == str(button.label):
                button.value = True
        await self.pilot.pause()
        await self.pilot.press("f2")
        await self.screen("Screen")

    async def delete(self, name, typed):
        await self.find(name)
        await self.press("ctrl+d")
        screen = await self.screen("DeleteTopicScreen")
        screen.query_one("#topic-confirmation", Input).value = typed
        await self.pilot.press("enter")
        note = await self.note()
        if typed != name:
            await self.pilot.press("escape")
        await self.screen("Screen")
        return note


async def administer():
    async with telling(KaskadeAdmin(config, refresh_interval=0)).run_test(size=(200, 60)) as pilot:
        ui = Admin(pilot)
        await wait(pilot, "the first refresh", lambda: ui.list.last_updated_at)
        say("list topics", await ui.listed())
        await ui.filter(f"{prefix}-rec")
        say("filter topics", rows(ui.app.query_one("#topics-table", DataTable)))
        say("describe a topic with groups", await ui.describe(f"{prefix}-records"))

        name = f"{prefix}-made"
        say("create", await ui.create(name, "compact", partitions=2, retention=3_600_000, min_insync_replicas=1))
        say("describe it", await ui.describe(name))
        say("create it again", await ui.create(name))
        say("create with more replicas than brokers", await ui.create(f"{name}-thrice", replicas=3))
        say("create with a retention that is none", await ui.create(f"{name}-ever", retention=-1))
        say("edit nothing", await ui.edit(name))
        say("edit everything", await ui.edit(name, "delete", partitions=4, retention=7_200_000, min_insync_replicas=2))
        edited = lambda shown: shown["Partitions"] == "4" and ["min.insync.replicas", "2"] in shown["configurations-table"]
        say("describe what was edited", await until("edits", lambda: ui.describe(name), edited))
        say("delete with another name", await ui.delete(name, f"{name}-"))
        say("delete", await ui.delete(name, name))
        await until("the topic has gone", ui.topics, lambda topics: name not in topics)
        say("list topics at the end", await ui.listed())
        say("notes that nobody expected", ui.app.notes)


def cells(record):
    headers = [f"{h.key}={h.value_str()}" for h in record.headers]
    return [record.partition, record.offset, record.key_str(), record.value_str(), record.timestamp_str(), headers]


def consumer(topic, partitions):
    earliest = config | {"auto.offset.reset": "earliest"}
    return KaskadeConsumer(
        topic, earliest, {}, {}, {}, Deserialization.STRING, Deserialization.STRING,
        partitions=partitions, timeouts=TimeoutConfig(consumer_idle=0.5),
    )


async def read(what, partitions, count, *filters):
    """reads chunks until there are count records, and then what each filter shows: each
    is its fields and how many records pass."""
    app = telling(consumer(f"{prefix}-records", partitions))
    async with app.run_test(size=(200, 60)) as pilot:
        records = app.query_one(ListRecords)
        table = app.query_one("#records-table", DataTable)

        async def press(key):
            await wait(pilot, "the table", lambda: not records._is_consuming and table.focus().has_focus)
            await pilot.press(key)

        async def shown(count):
            end = time.monotonic() + LIMIT
            while True:
                await wait(pilot, "a chunk", lambda: not records._is_consuming)
                if len(records.records) >= count or time.monotonic() > end:
                    return sorted(cells(r) for r in records.records.values())
                await press("n")

        say(what, await shown(count))
        for fields, count in filters:
            await press("ctrl+f")
            await wait(pilot, "the filter", lambda: type(app.screen).__name__ == "FilterRecordScreen")
            for field, value in fields.items():
                app.screen.query_one(f"#{field}", Input).value = value
            await pilot.press("enter")
            await wait(pilot, "the list", lambda: len(app.screen_stack) == 1 and records.filters.active)
            say(f"{what}, by {fields}", await shown(count))
        say(f"{what}: notes", app.notes)


def refused(what, topic, partitions):
    """starts a consumer that ends at once."""
    try:
        consumer(topic, partitions)
        say(what, "not refused")
    except Exception as e:
        say(what, f"{type(e).__name__}: {e}")


asyncio.run(administer())
asyncio.run(read(
    "read from the earliest", (), 60,
    ({"key": "key-7"}, 1), ({"value": "value-1", "partition": "1"}, 5), ({"header": "h-3"}, 3),
))
asyncio.run(read("read a partition from an offset", (PartitionSelection(1, 12),), 8))
both = (PartitionSelection(0, PartitionOffset.EARLIEST), PartitionSelection(2, 15))
asyncio.run(read("read two partitions", both, 25))
refused("read an offset that is not there", f"{prefix}-records", (PartitionSelection(0, 1000),))
refused("read a partition that is not there", f"{prefix}-records", (PartitionSelection(7, 0),))
refused("read a topic that is not there", f"{prefix}-nothing", (PartitionSelection(0, 0),))
