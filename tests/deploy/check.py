#!/usr/bin/env python3
"""Checks what is in `deploy/` and `compose.yaml`, with the programs that are going to read it.

    tests/deploy/check.py target/debug/ratebook

Needs Debian's packages `nginx-light`, `prometheus` and `python3-yaml`. Docker is used where it is there.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import yaml

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
DEPLOY = HERE / "deploy"
# How long a program may take to begin, and Prometheus to have seen enough for rates.
PATIENCE = 60.0


def fail(text):
    sys.exit(f"deploy: {text}")


def run(*arguments, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, **options)
    if done.returncode:
        fail(f"{' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def compose():
    """What compose would refuse, and what we promise of it."""
    told = yaml.safe_load((HERE / "compose.yaml").read_text())
    services = told["services"]
    for name, service in services.items():
        for key in ("image", "restart"):
            if key not in service:
                fail(f"compose.yaml: {name} has no {key}")
        # Our image and Grafana's bring a check of their own.
        if "healthcheck" not in service and "build" not in service and name != "grafana":
            fail(f"compose.yaml: {name} has no health check")
        if "limits" not in service.get("deploy", {}).get("resources", {}):
            fail(f"compose.yaml: {name} has no limits")
        if service.get("ports") and name not in ("nginx", "grafana"):
            fail(f"compose.yaml: {name} is published")
        for other in service.get("depends_on", {}):
            if other not in services:
                fail(f"compose.yaml: {name} waits for {other}, which is nowhere")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and not (HERE / source).exists():
                fail(f"compose.yaml: {name} mounts {source}, which is not there")
            if not source.startswith((".", "/")) and source not in told["volumes"]:
                fail(f"compose.yaml: {name} mounts {source}, which is declared nowhere")
        if "healthcheck" in service and "build" not in service and "test" not in service["healthcheck"]:
            fail(f"compose.yaml: the health check of {name} has no test")
    upstreams = re.findall(r"server (\S+):8080", (DEPLOY / "nginx/nginx.conf").read_text())
    replicas = [services[name]["networks"]["inside"]["ipv4_address"] for name in ("answer-1", "answer-2")]
    if upstreams != replicas:
        fail(f"nginx asks {upstreams}, and the replicas are at {replicas}")
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        run("docker", "compose", "--profile", "demo", "config", "--quiet", cwd=HERE)
    return len(services)


def nginx(scratch):
    settings = (DEPLOY / "nginx/nginx.conf").read_text().replace("/tmp/", f"{scratch}/")
    path = scratch / "nginx.conf"
    path.write_text(settings)
    run("/usr/sbin/nginx", "-t", "-q", "-c", str(path), "-p", str(scratch))


def rules():
    run("promtool", "check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")
    run("promtool", "test", "rules", "alerts.test.yml", cwd=DEPLOY / "prometheus")
    names = [rule["alert"] for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
             for rule in group["rules"]]
    tests, readme = (DEPLOY / "prometheus/alerts.test.yml").read_text(), (HERE / "README.md").read_text()
    for name in names:
        if name not in tests:
            fail(f"no test of the alert {name}")
        if f"`{name}`" not in readme:
            fail(f"the README does not say what {name} means")
    return len(names)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found := is_so():
                return found
        except OSError:
            pass
        if time.monotonic() > deadline:
            fail(f"{what} within {PATIENCE:.0f} s")
        time.sleep(0.2)


class Program:
    """A process that ends with this one."""

    def __init__(self, log, *arguments, env=None):
        self.process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=log.name.rsplit("/", 1)[0],
                                        env={**os.environ, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)


def expressions():
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        if any(panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24 for panel in board["panels"]):
            fail(f"{path.name}: a panel is beyond the edge")
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def dashboards(scratch, address):
    """Every panel asks a live Prometheus that reads a live service, and gets a series."""
    prometheus = free_port()
    jobs = [{"targets": [address], "labels": {"role": role}} for role in ("collect", "answer", "store")]
    (scratch / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "ratebook", "static_configs": jobs}],
    }))
    with open(scratch / "prometheus.log", "w") as log, \
            Program(log, "prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={scratch}/tsdb",
                    f"--web.listen-address=127.0.0.1:{prometheus}"):
        for path in ("/v1/courses", "/v1/courses/BTC-USD", "/nowhere"):
            try:
                get(f"http://{address}{path}")
            except urllib.error.HTTPError:
                pass
        page = get(f"http://{address}/metrics")
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
        # Of the library's own names promtool says nothing; of ours it must have nothing to say.
        if done.returncode or done.stdout.strip() or done.stderr.strip():
            fail(f"promtool on /metrics: {done.stdout}{done.stderr}")
        num_panels = 0
        for name, expression in expressions():
            query = urllib.parse.quote(expression)
            url = f"http://127.0.0.1:{prometheus}/api/v1/query?query={query}"

            def has_series():
                get(f"http://{address}/v1/courses")
                return json.loads(get(url))["data"]["result"]

            until(f"{name} has no series: {expression}", has_series)
            num_panels += 1
        return num_panels


class Connection:
    """A connection on which anything may be said."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PROXY_PATIENCE)
        self.unread = b""

    def write(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # It may have answered and closed before all was said.

    def read(self):
        """Status, head and body of the next answer; `None` where the connection ends instead."""
        while True:
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.I) if end else None
            if end and len(rest) >= (length := int(length[1]) if length else 0):
                self.unread = rest[length:]
                return int(head.split(b" ")[1]), head.decode("latin1").lower(), rest[:length]
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                fail(f"nothing comes through nginx, and it does not close: {self.unread[:200]}")
            except OSError:
                return None
            if not data:
                return None
            self.unread += data

    def ask(self, data):
        self.write(data)
        return self.read()


# Longer than any of nginx's own limits here.
PROXY_PATIENCE = 12.0
# When a connection whose head does not come is closed.
CLOSED_WITHIN = 6.0


def head(path, headers="", method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


def slow_heads(port):
    """The first head of a connection, and a later one, have to come in time: the service itself limits the first alone."""
    connections = [Connection(port) for _ in range(40)]
    for connection in connections[20:]:
        if connection.ask(head("/v1/courses"))[0] != 200:
            fail("no course through nginx")
    began = time.monotonic()
    for connection in connections:
        connection.write(b"G")
    for connection in connections:
        if connection.read() is not None:
            fail("half a head is answered through nginx")
    if (took := time.monotonic() - began) > CLOSED_WITHIN:
        fail(f"half a head is given up by nginx after {took:.1f} s")
    return len(connections)


def proxy(scratch, address):
    """What nginx, with the settings that we ship, makes of requests that no proper client sends."""
    corpus = json.loads((HERE / "tests/fixtures/bad_requests.json").read_text())
    port = free_port()
    settings = (scratch / "nginx.conf").read_text()
    for shipped, ours in ((r"10\.213\.77\.1[12]:8080", address), (r"listen 8080 [^;]*;", f"listen 127.0.0.1:{port};"),
                          (r"/dev/std(out|err)", str(scratch / "nginx.log"))):
        settings, count = re.subn(shipped, ours, settings)
        if not count:
            fail(f"`{shipped}` is not in nginx.conf")
    (scratch / "proxy.conf").write_text(settings)
    with open(scratch / "proxy.log", "w") as log, \
            Program(log, "/usr/sbin/nginx", "-c", str(scratch / "proxy.conf"), "-p", str(scratch),
                    "-g", "daemon off; user root;"):
        until("nginx does not answer", lambda: get(f"http://127.0.0.1:{port}/v1/courses"))
        num_requests = slow_heads(port)
        for name, rest in corpus["ambiguous"]:
            for method in ("GET", "POST"):
                connection = Connection(port)
                # A second request follows: it must never be answered.
                data = f"{method} /v1/courses HTTP/1.1\r\nHost: x\r\n{rest}".encode() + head("/health/live")
                answer = connection.ask(data)
                if answer is None or answer[0] not in (400, 501) or connection.read() is not None:
                    fail(f"{method} with {name} through nginx: {answer}")
                num_requests += 1
        for name, data, statuses in (
                ("120 headers", head("/v1/courses", "".join(f"X-{n}: y\r\n" for n in range(120))), (431,)),
                ("a header of 20 KB", head("/v1/courses", f"X-Long: {'y' * 20_000}\r\n"), (400, 431)),
                ("a URL of 100 KB", head(f"/v1/courses?directions={'BTC-USD,' * 12_500}"), (414,)),
                ("a body of 1 MB", head("/v1/courses", f"Content-Length: {1 << 20}\r\n", "POST"), (413,)),
                ("POST", head("/v1/courses", method="POST"), (405,)),
                ("DELETE", head("/v1/courses/BTC-USD", method="DELETE"), (405,)),
                ("metrics", head("/metrics"), (404,))):
            answer = Connection(port).ask(data)
            if answer is None or answer[0] not in statuses:
                fail(f"{name} through nginx: {answer}")
            num_requests += 1
        for value in corpus["values"]:
            for path in (f"/v1/courses?directions={value}", f"/v1/courses?{value}", f"/v1/courses/{value}"):
                answer = Connection(port).ask(head(path))
                if answer is None or answer[0] not in (400, 404, 422) or "set-cookie" in answer[1]:
                    fail(f"{path} through nginx: {answer}")
                num_requests += 1
        if Connection(port).ask(head("/v1/courses"))[0] != 200:
            fail("no course through nginx after bad requests")
        return num_requests


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = str(pathlib.Path(sys.argv[1]).resolve())
    num_services, num_alerts = compose(), rules()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        nginx(scratch)
        address = f"127.0.0.1:{free_port()}"
        with open(scratch / "service.log", "w") as log, \
                Program(log, program, "demo", env={"RATEBOOK_LISTEN": address}):
            until("the demo does not answer", lambda: get(f"http://{address}/v1/courses"))
            num_requests = proxy(scratch, address)
            num_panels = dashboards(scratch, address)
    print(f"deploy: {num_services} services, {num_alerts} alerts, {num_panels} questions of panels, "
          f"{num_requests} bad requests through nginx: all well")


if __name__ == "__main__":
    main()
