#!/usr/bin/env python3
"""Breaks a running stack of compose under load, and counts what a client felt.

    docker compose --profile demo up --build --wait
    tests/compose/drill.py --all                       # every row; needs root for those that cut a network
    tests/compose/drill.py --row replica-killed --rate 1500

While a part is broken, a load asks through the proxy at a steady rate that does not wait for answers (open loop), each
connection as a client of its own. Every answer is compared with what the simulator really published, and every client's
sequence with the one before. One JSON line per row, then a table; the exit code is 1 if a row failed.
"""

import argparse
import asyncio
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
PATH = "/v1/courses/BTC-USDT"
CONNECTIONS = 96
# How old a course may be by the rules, and how much later the truth may have been looked at.
STALE_AFTER = 5.0
SLACK = 0.3
# How long an answer may take before it counts as none.
PATIENCE = 5.0


def compose(*arguments, check=True, environment=None):
    done = subprocess.run(
        ["docker", "compose", "--profile", "demo", *arguments], cwd=HERE, capture_output=True, text=True,
        env={**os.environ, **(environment or {})},
    )
    if check and done.returncode:
        sys.exit(f"docker compose {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def inspect(service, form):
    container = compose("ps", "--all", "--quiet", service)
    done = subprocess.run(["docker", "inspect", "-f", form, container], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def address(service):
    return inspect(service, "{{(index .NetworkSettings.Networks \"ratebook_inside\").IPAddress}}")


def get(url, limit=5.0):
    with urllib.request.urlopen(url, timeout=limit) as answer:
        return answer.read()


def sql(query):
    return compose("exec", "-T", "postgres", "sh", "-c",
                   'PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin) psql -U ratebook -d demo -h /var/run/postgresql -Atc "$0"', query)


class Truth:
    """What the simulator published lately: of each exchange the middles of its BTC-USDT, newest last."""

    def __init__(self):
        self.url = f"http://{address('simulator')}:9900"
        self.steps = collections.deque(maxlen=1000)
        # The aggregator's, which are good for three minutes.
        self.averages = collections.deque(maxlen=10000)

    async def watch(self, until):
        loop = asyncio.get_running_loop()
        while not until.is_set():
            at = time.monotonic()
            try:
                told = json.loads(await loop.run_in_executor(None, get, f"{self.url}/control/truth"))
            except OSError:
                continue
            middles = {}
            for exchange, quotes in told["quotes"].items():
                quote = quotes.get("BTC-USDT")
                if quote and quote.get("bid"):
                    middles[exchange] = (float(quote["bid"]) + float(quote["ask"])) / 2
            average = told["quotes"]["coingecko"]
            self.averages.append(float(average["BTC-USD"]["last"]) / float(average["USDT-USD"]["last"]))
            self.steps.append((at, told["tick"], middles))
            await asyncio.sleep(max(0.0, at + 0.02 - time.monotonic()))

    def judge(self, answer):
        """`exact`, `beside` a step that nobody saw, `average`, `wrong`, or `early` before enough was seen."""
        if answer.exchanger == "coingecko":
            is_near = any(abs(average / answer.value - 1) < 1e-3 for average in self.averages)
            return "average" if is_near else "wrong"
        seen = [step for step in self.steps if answer.sent - STALE_AFTER - SLACK <= step[0] <= answer.at + SLACK]
        if not seen or self.steps[0][0] > answer.sent - STALE_AFTER - SLACK or self.steps[-1][0] < answer.at:
            return "early"
        middles = [step[2][answer.exchanger] for step in seen if answer.exchanger in step[2]]
        if any(abs(middle / answer.value - 1) < 1e-9 for middle in middles):
            return "exact"
        has_gap = any(after[1] > before[1] + 1 for before, after in zip(seen, seen[1:]))
        is_between = middles and min(middles) * 0.9999 <= answer.value <= max(middles) * 1.0001
        return "beside" if has_gap and is_between else "wrong"


Answer = collections.namedtuple("Answer", "sent at exchanger value age")


class Load:
    """Requests at a steady rate over kept connections."""

    def __init__(self, host, port, rate, truth):
        self.host, self.port, self.rate, self.truth = host, port, rate, truth
        self.queue = collections.deque()
        self.wake = asyncio.Semaphore(0)
        self.times, self.statuses = [], collections.Counter()
        self.failures = collections.Counter()
        self.judged, self.wrong = collections.Counter(), []
        self.waiting = collections.deque()
        self.falls, self.largest_fall_ms, self.oldest_ms = 0, 0, 0
        self.over = asyncio.Event()

    async def schedule(self):
        began, sent = time.monotonic(), 0
        while not self.over.is_set():
            due = int((time.monotonic() - began) * self.rate)
            while sent < due:
                self.queue.append(began + sent / self.rate)
                self.wake.release()
                sent += 1
            await asyncio.sleep(0.002)

    async def client(self, number):
        request = (f"GET {PATH} HTTP/1.1\r\nHost: drill\r\nRatebook-Client: drill-{number}\r\n\r\n").encode()
        streams, sequence = None, 0
        while True:
            await self.wake.acquire()
            if not self.queue:
                break
            due = self.queue.popleft()
            sent = time.monotonic()
            try:
                if streams is None:
                    streams = await asyncio.wait_for(asyncio.open_connection(self.host, self.port), PATIENCE)
                streams[1].write(request)
                status, headers, body = await asyncio.wait_for(self.read(streams[0]), PATIENCE)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures[type(error).__name__] += 1
                if streams:
                    streams[1].close()
                streams = None
                continue
            at = time.monotonic()
            self.times.append(at - due)
            self.statuses[status] += 1
            if status != 200:
                self.failures[str(status)] += 1
                continue
            told = json.loads(body)
            now = int(headers["ratebook-sequence"])
            if now < sequence:
                self.falls += 1
            sequence = now
            self.oldest_ms = max(self.oldest_ms, int(headers["ratebook-age-ms"]))
            self.waiting.append(Answer(sent, at, told["exchanger"], told["courses"][0]["value"], 0))
        if streams:
            streams[1].close()

    async def read(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
            while (size := int((await reader.readline()).strip() or b"0", 16)) > 0:
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        return int(head[0].split(" ")[1]), headers, body

    async def judge(self):
        while not self.over.is_set() or self.waiting:
            while self.waiting and (self.over.is_set() or self.waiting[0].at + 0.5 < time.monotonic()):
                answer = self.waiting.popleft()
                verdict = self.truth.judge(answer)
                self.judged[verdict] += 1
                if verdict == "wrong" and len(self.wrong) < 3:
                    self.wrong.append(f"{answer.exchanger} never said {answer.value}")
                if len(self.times) % 50 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.05)

    async def run(self, breaking, seconds_before, seconds_after):
        stop_truth = asyncio.Event()
        watching = asyncio.create_task(self.truth.watch(stop_truth))
        await asyncio.sleep(STALE_AFTER + SLACK + 1)
        clients = [asyncio.create_task(self.client(number)) for number in range(CONNECTIONS)]
        tasks = [asyncio.create_task(self.schedule()), asyncio.create_task(self.judge())]
        await asyncio.sleep(seconds_before)
        loop = asyncio.get_running_loop()
        notes = await loop.run_in_executor(None, breaking)
        await asyncio.sleep(seconds_after)
        self.over.set()
        await asyncio.sleep(0.1)
        while self.queue:
            await asyncio.sleep(0.05)
        for _ in clients:
            self.wake.release()
        await asyncio.gather(*clients, *tasks)
        stop_truth.set()
        await watching
        return notes or {}


def host_pid(service):
    return inspect(service, "{{.State.Pid}}")


def crash(service):
    """Ends the process itself, so that the policy of compose starts it again."""
    subprocess.run(["kill", "-9", host_pid(service)], check=True)


def until_well(service, limit=60.0):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        state = inspect(service, "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}")
        if state in ("running healthy", "running "):
            return
        time.sleep(0.2)
    sys.exit(f"{service} is not well after {limit} s: {state}")


def firewall(service, action, peer):
    for chain, side in (("OUTPUT", "-d"), ("INPUT", "-s")):
        subprocess.run(["nsenter", "-t", host_pid(service), "-n", "iptables", action, chain, side, peer, "-j", "DROP"],
                       check=True)


def nothing():
    time.sleep(5)


def replica_killed():
    crash("answer-1")
    time.sleep(5)
    until_well("answer-1")


def replica_paused():
    compose("pause", "answer-1")
    time.sleep(30)
    compose("unpause", "answer-1")
    until_well("answer-1")


def replica_cut_off():
    nats = address("nats")
    firewall("answer-1", "-A", nats)
    time.sleep(20)
    firewall("answer-1", "-D", nats)
    until_well("answer-1")


def replica_restarted():
    compose("restart", "answer-1")
    until_well("answer-1")


def collector_killed():
    crash("collector")
    time.sleep(5)
    until_well("collector")


def postgres_stopped():
    compose("stop", "postgres")
    time.sleep(60)
    compose("start", "postgres")
    until_well("postgres")


def nats_killed():
    # By hand, because Docker waits longer and longer before it starts again what ends again and again.
    for _ in range(20):
        compose("kill", "nats")
        time.sleep(1)
        compose("start", "nats")
        time.sleep(3)


def next_version():
    """Makes the image of a version that differs by one migration."""
    with tempfile.TemporaryDirectory() as tree:
        tree = pathlib.Path(tree)
        for part in ("Cargo.toml", "Cargo.lock", "build.rs", "diesel.toml", ".dockerignore", "migrations", "src", "deploy"):
            copy = shutil.copytree if (HERE / part).is_dir() else shutil.copy
            copy(HERE / part, tree / part)
        migration = tree / "migrations/postgres/2099-01-01-000001_drill"
        migration.mkdir()
        (migration / "up.sql").write_text("ALTER TABLE rejected_quotes ADD COLUMN drill TEXT;\n")
        (migration / "down.sql").write_text("ALTER TABLE rejected_quotes DROP COLUMN drill;\n")
        done = subprocess.run(["docker", "build", "--quiet", "-f", "deploy/Dockerfile", "-t", "ratebook:next", "."],
                              cwd=tree, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"docker build: {done.stderr}")


def replace(*parts):
    """From this version to the next one and back, each part by itself: old parts work on the new schema."""
    for image in ("ratebook:next", "ratebook"):
        for part in parts:
            compose("up", "--detach", "--no-deps", "--no-build", part, environment={"IMAGE_OF_RATEBOOK": image})
            until_well(part)


def collector_updated():
    replace("collector")


def rolling_update():
    replace("store", "answer-1", "answer-2")
    count = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'rejected_quotes' AND column_name = 'drill'"
    return {"migrated": sql(count) == "1"}


# Name: what breaks, how many requests may fail of all, how often a sequence may fall, and whether rows are counted.
ROWS = {
    "nothing": (nothing, 0.0, 0, True),
    "replica-killed": (replica_killed, 0.0, None, True),
    "replica-paused": (replica_paused, 0.0, None, True),
    "replica-cut-off": (replica_cut_off, 0.0, None, True),
    "replica-restarted": (replica_restarted, 0.0, None, True),
    "collector-killed": (collector_killed, 0.0, 0, False),
    "postgres-stopped": (postgres_stopped, 0.0, 0, True),
    "nats-killed": (nats_killed, 0.0, 0, True),
    "rolling-update": (rolling_update, 0.0, None, True),
    "collector-updated": (collector_updated, 0.0, 0, False),
}

# What has to be there before the load begins.
PREPARATIONS = {"rolling-update": next_version, "collector-updated": next_version}


def quiet(is_quiet):
    """Mutes every exchange of the simulator, or lets all speak again."""
    truth = f"http://{address('simulator')}:9900"
    for exchange in json.loads(get(f"{truth}/control/ports")):
        url = f"{truth}/control/{exchange}/faults"
        if is_quiet:
            body = json.dumps({"kind": "mute", "transport": "both"}).encode()
            request = urllib.request.Request(url, data=body, method="POST")
        else:
            request = urllib.request.Request(url, method="DELETE")
        urllib.request.urlopen(request, timeout=5).read()


def accepted():
    """Quotes that the collector has left to be stored since it began."""
    page = get(f"http://{address('collector')}:8080/metrics").decode()
    line = next(line for line in page.splitlines() if line.startswith("ratebook_recorded_quotes_total "))
    return int(float(line.split(" ")[1]))


def stored():
    """Quotes that candles of a minute are made of: one that is stored twice would be counted twice."""
    return int(sql("SELECT coalesce(sum(num_quotes), 0) FROM candles WHERE length = '1m'"))


def settled():
    """Accepted and stored, once nothing moves any more."""
    quiet(True)
    last, since = None, time.monotonic()
    deadline = since + 60
    while time.monotonic() < deadline:
        now = (accepted(), stored())
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 4:
            break
        time.sleep(0.5)
    return last


def drill(name, options):
    breaking, allowed, falls, counts_rows = ROWS[name]
    PREPARATIONS.get(name, lambda: None)()
    before = settled() if counts_rows else None
    quiet(False)
    time.sleep(3)
    truth = Truth()
    load = None

    async def run():
        nonlocal load
        load = Load(options.host, options.port, options.rate, truth)
        return await load.run(breaking, options.before, options.after)

    notes = asyncio.run(run())
    times = sorted(load.times)
    quantile = lambda share: round(times[min(len(times) - 1, int(len(times) * share))] * 1000, 1)
    failed = sum(load.failures.values())
    row = {
        "row": name, "n": len(times) + failed - sum(c for s, c in load.failures.items() if s.isdigit()),
        "failed": failed, "failures": dict(load.failures), "judged": dict(load.judged), "wrong": load.wrong,
        "falls": load.falls, "oldest_ms": load.oldest_ms,
        "p50_ms": quantile(0.5), "p99_ms": quantile(0.99), "max_ms": quantile(1.0), **notes,
    }
    is_good = failed <= allowed * row["n"] and not load.wrong and load.judged["wrong"] == 0
    is_good &= falls is None or load.falls <= falls
    is_good &= notes.get("migrated", True)
    if counts_rows:
        after = settled()
        row["accepted"], row["stored"] = after[0] - before[0], after[1] - before[1]
        is_good &= row["accepted"] == row["stored"]
        quiet(False)
    row["pass"] = is_good
    print(json.dumps(row), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=ROWS, help="which, may repeat")
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--rate", type=float, default=1500, help="requests a second")
    parser.add_argument("--before", type=float, default=5, help="seconds of load before the fault")
    parser.add_argument("--after", type=float, default=8, help="seconds of load after it")
    options = parser.parse_args()
    names = list(ROWS) if options.all else options.row
    if not names:
        parser.error("name a row with --row, or take --all")
    rows = [drill(name, options) for name in names]
    print(f"\n{'ROW':20} {'N':>8} {'FAILED':>7} {'WRONG':>6} {'FALLS':>6} {'P50 ms':>7} {'P99 ms':>7} {'ACCEPTED':>9} {'STORED':>8}")
    for row in rows:
        print(f"{row['row']:20} {row['n']:>8} {row['failed']:>7} {row['judged'].get('wrong', 0):>6} {row['falls']:>6} "
              f"{row['p50_ms']:>7} {row['p99_ms']:>7} {row.get('accepted', '-'):>9} {row.get('stored', '-'):>8}"
              f"  {'ok' if row['pass'] else 'FAILED'}")
    sys.exit(0 if all(row["pass"] for row in rows) else 1)


if __name__ == "__main__":
    main()
