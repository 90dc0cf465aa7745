"""Users of a rate service, by what they do. `locust/run` runs them at a rate and draws the pictures.

Every user knows which answers are right: a status that it does not expect, a body that is not what was asked for, or a
number that is none is a failure, and one failure makes the exit code 1. Each user asks at a steady pace and is a client
of its own to the proxy (`Ratebook-Client`), as many clients behind one address are.
"""

import itertools
import os
import random

from locust import constant_throughput, events
from locust.contrib.fasthttp import FastHttpUser
from locust.runners import WorkerRunner

PACE = float(os.environ.get("PACE", "10"))
DIRECTIONS = ["BTC-RUB", "BTC-USD", "ETH-RUB", "ETH-USD", "USDTTRC-RUB", "USDTTRC-USD", "USDTERC-RUB", "USDTERC-USD"]
CONVERSIONS = ["BTC-EUR", "EUR-RUB", "RUB-USDTTRC", "USD-KZT", "ETH-BTC", "BTC-KZT"]
numbers = itertools.count()

# Questions that have no answer, each with the status that says so.
BAD = [
    ("/v1/courses?directions=BTCUSD", 422),
    ("/v1/courses?direction=NOPE-USD", 422),
    ("/v1/courses?exchanger=nobody", 422),
    ("/v1/courses?max_age_ms=-1", 422),
    ("/v1/courses?wrong=1", 422),
    ("/v1/courses/%00", (400, 422)),
    ("/v1/nothing", 404),
    ("/metrics", (404, 200)),
]


class Client(FastHttpUser):
    """Somebody with a connection of their own."""

    abstract = True
    wait_time = constant_throughput(PACE)
    connection_timeout = 5.0
    network_timeout = 5.0

    def on_start(self):
        self.headers = {"Ratebook-Client": f"locust-{os.getpid()}-{next(numbers)}"}
        self.sequence = 0

    def ask_for(self, path, name, wanted):
        """Asks, and fails unless exactly the wanted courses come, with positive numbers."""
        with self.client.get(path, headers=self.headers, name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:200]}")
                return
            try:
                courses = {it["direction"]: it["value"] for it in answer.json()["courses"]}
            except (ValueError, KeyError, TypeError) as error:
                answer.failure(f"not courses: {error!r}")
                return
            sequence = int(answer.headers.get("Ratebook-Sequence", "0"))
            if list(courses) != wanted:
                answer.failure(f"asked for {wanted}, got {list(courses)}")
            elif not all(isinstance(value, (int, float)) and value > 0 for value in courses.values()):
                answer.failure(f"a course that is no price: {courses}")
            elif sequence < self.sequence:
                answer.failure(f"the sequence fell from {self.sequence} to {sequence}")
            else:
                self.sequence = sequence
                answer.success()


class AllCourses(Client):
    """An exchanger that keeps its table of prices."""

    weight = 10

    def on_start(self):
        super().on_start()
        self.etag = None

    def task(self):
        self.ask_for("/v1/courses", "/v1/courses", DIRECTIONS)

    tasks = [task]


class OneDirection(Client):
    """A shop that prices one thing."""

    weight = 6

    def task(self):
        direction = random.choice(DIRECTIONS)
        self.ask_for(f"/v1/courses/{direction}", "/v1/courses/{direction}", [direction])

    tasks = [task]


class Converter(Client):
    """A wallet that converts between whatever its owner has."""

    weight = 2

    def task(self):
        asked = random.sample(CONVERSIONS, 2)
        self.ask_for(f"/v1/courses?directions={','.join(asked)}", "/v1/courses?directions=…", asked)

    tasks = [task]


class HealthWatcher(Client):
    """A monitor."""

    weight = 1

    def task(self):
        with self.client.get("/health", headers=self.headers, catch_response=True) as answer:
            told = answer.json() if answer.status_code == 200 else {}
            if told.get("status") in ("ok", "degraded") and told.get("exchanges"):
                answer.success()
            else:
                answer.failure(f"{answer.status_code}: {(answer.text or '')[:200]}")

    tasks = [task]


class BadRequests(Client):
    """A beginner, whose questions have to be refused in the right words."""

    weight = 1

    def task(self):
        path, expected = random.choice(BAD)
        expected = expected if isinstance(expected, tuple) else (expected,)
        with self.client.get(path, headers=self.headers, name="bad requests", catch_response=True) as answer:
            if answer.status_code in expected:
                answer.success()
            else:
                answer.failure(f"{path}: {answer.status_code} where {expected} belongs")

    tasks = [task]


@events.quitting.add_listener
def judge(environment, **_):
    if isinstance(environment.runner, WorkerRunner):
        return
    total = environment.stats.total
    if total.num_failures or not total.num_requests:
        print(f"{total.num_failures} of {total.num_requests} answers were not as expected")
        environment.process_exit_code = 1
