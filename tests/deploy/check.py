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


def dashboards(scratch, program):
    """Every panel asks a live Prometheus that reads a live service, and gets a series."""
    service, prometheus = free_port(), free_port()
    address = f"127.0.0.1:{service}"
    jobs = [{"targets": [address], "labels": {"role": role}} for role in ("collect", "answer", "store")]
    (scratch / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "ratebook", "static_configs": jobs}],
    }))
    with open(scratch / "service.log", "w") as log, open(scratch / "prometheus.log", "w") as other_log, \
            Program(log, program, "demo", env={"RATEBOOK_LISTEN": address}), \
            Program(other_log, "prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={scratch}/tsdb",
                    f"--web.listen-address=127.0.0.1:{prometheus}"):
        until("the demo does not answer", lambda: get(f"http://{address}/v1/courses"))
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


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = str(pathlib.Path(sys.argv[1]).resolve())
    num_services, num_alerts = compose(), rules()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        nginx(scratch)
        num_panels = dashboards(scratch, program)
    print(f"deploy: {num_services} services, {num_alerts} alerts, {num_panels} questions of panels: all well")


if __name__ == "__main__":
    main()
