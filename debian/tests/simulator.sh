# For the tests: starts the simulator of the API with a token and the demo scenario, in a temporary directory, and sets
# api_url.

tmp=$(mktemp -d)
chmod 755 "$tmp"
trap 'kill $pids 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

(umask 077 && echo 0123456789012345678901234567890123456789 >"$tmp/token")
PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 python3 -m simulator --scenario demo --token-file "$tmp/token" >"$tmp/ready" &
pids=$!

# wait_for COMMAND...: repeats the command until it succeeds
wait_for() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.1
    done
    echo "timeout: $*" >&2
    return 1
}

wait_for test -s "$tmp/ready"
api_url=$(sed -n 's|.*"base": "\([^"]*\)", "api": {"host": "\([^"]*\)", "port": \([0-9]*\).*|http://\2:\3\1|p' "$tmp/ready")
account=c3dc5f0b34a14ff8e1b3ec04895e1b22
