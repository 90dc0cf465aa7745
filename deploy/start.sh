#!/bin/sh
# Starts a part of the service in compose. With the profile `demo` a simulator runs beside it, under a name that
# nothing has without the profile: then every exchange is the simulated one, and what it says is kept apart from real
# prices, in a database and an account of the broker of its own.
set -eu
if getent hosts simulator > /dev/null; then
    echo "ratebook-start: a simulator runs beside us: every price is made up" >&2
    export RATEBOOK_SIMULATOR=simulator:9900
    export RATEBOOK_NATS_USER="demo_$RATEBOOK_NATS_USER"
    if [ -n "${RATEBOOK_DATABASE_URL:-}" ]; then
        export RATEBOOK_DATABASE_URL="${RATEBOOK_DATABASE_URL%/*}/demo"
    fi
fi
exec ratebook "$@"
