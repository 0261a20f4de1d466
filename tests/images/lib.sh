# shellcheck shell=bash
# What the image tests share: namespaces of their own, a sink, waiting. Sourced from the repository's top.

LAST_STEP=start SERVICE='' CRON='' SINK=''
skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}
say() {
    LAST_STEP=$*
    printf -- '-- %s\n' "$*"
}
lost() {
    printf 'error: %s (while: %s)\n' "$*" "$LAST_STEP" >&2
    exit 1
}

# Runs a command in namespaces of its own for mounts, network and users, every user number as outside. What is
# mounted or registered there (the emulator as well) is gone with it and concerns nobody else.
in_namespace() {
    local pipes pid code=0
    pipes=$(mktemp -d)
    mkfifo "$pipes/made" "$pipes/mapped"
    # shellcheck disable=SC2016 # expanded inside
    unshare --user --mount --net sh -c 'pipes=$0; echo >"$pipes/made"; read -r _ <"$pipes/mapped"
        ip link set lo up; echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start; exec "$@"' "$pipes" "$@" &
    pid=$!
    read -r _ <"$pipes/made"
    echo "0 0 65536" >/proc/$pid/gid_map
    echo "0 0 65536" >/proc/$pid/uid_map
    echo >"$pipes/mapped"
    wait $pid || code=$?
    rm -r "$pipes"
    return $code
}

# Waits until a command succeeds: wait_until SECONDS WHAT COMMAND...
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || lost "no $what in time"
        sleep 0.2
    done
}

# A sink that writes each message into a file of a folder: start_sink PORT FOLDER; its number is in SINK.
start_sink() {
    mkdir -p "$2"
    (cd "$2" && exec smtp-sink -c -u root -d m. "127.0.0.1:$1" 200) >/dev/null 2>&1 &
    SINK=$!
    wait_until 10 sink listens "$1"
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
arrived() { find "$1" -type f | wc -l; }
