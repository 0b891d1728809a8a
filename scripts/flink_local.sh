#!/usr/bin/env bash
# Runs `python -m preprocess` on a Flink session cluster on this machine: a job manager, two task managers and Beam's
# pool of Python workers. A job that runs here also runs on a cluster of many machines.
#
#   ./scripts/flink_local.sh run PREPROCESS_FLAGS   run a job; starts a cluster if none is running, and stops it afterwards
#   ./scripts/flink_local.sh start | status | stop  keep a cluster for several jobs
#   ./scripts/flink_local.sh fetch                  download what the cluster needs, except Java (11 or newer)
#
# FLINK_JOB_SERVER_JAR=FILE   Beam's job server for Flink, instead of the one that Maven assembles
# FLINK_LOCAL_PORT=8081       the first of three consecutive ports: Flink's web page, its RPC, the worker pool
# FLINK_LOCAL_DIR=DIR         the folder for logs and process ids [.venv/flink/PORT]
# Exit codes: those of preprocess; 2 also if something must be installed, 3 if Maven cannot download the job server.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
root=$PWD

# This line of Flink runs Beam's batch jobs as its own batch programs, and Maven has all parts of Beam's job server for
# it. The job server may be older than the Beam of the job, as the two use Beam's portability protocol.
flink_version=1.19.3
job_server_version=2.62.0

port=${FLINK_LOCAL_PORT:-8081}
rpc_port=$((port + 1))
pool_port=$((port + 2))
home=$root/.venv/flink
flink=$home/flink-$flink_version
java=
state=${FLINK_LOCAL_DIR:-$home/$port} # folder of the logs and process ids
job_server=$home/job-server-${flink_version%.*}-$job_server_version
services="worker-pool task-manager-2 task-manager-1 job-manager" # in the order in which they are stopped

say() { echo "flink_local: $*" >&2; }
fail() { say "$1"; exit "${2:-1}"; }

# ------------------------------------------------------------------------------------------- downloads

check_java() {
    [ -z "${java:-}" ] || return 0 # already checked
    java=${JAVA_HOME:+$JAVA_HOME/bin/}java
    command -v "$java" >/dev/null ||
        fail "Flink needs Java 11 or newer, but Java is not installed: install it (Debian, Ubuntu: apt-get install default-jre-headless)" 2
    local java_version
    java_version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${java_version:-0}" -ge 11 ] ||
        fail "Flink needs Java 11 or newer, but this is Java ${java_version:-of an unknown version}: set JAVA_HOME" 2
    # Flink and its serializers access internal classes of the JDK. Every java started below reads this variable.
    local package opened=""
    for package in java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.text java.time \
        java.util java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks; do
        opened="$opened --add-opens=java.base/$package=ALL-UNNAMED"
    done
    export JDK_JAVA_OPTIONS="${JDK_JAVA_OPTIONS:-}$opened --add-exports=java.base/sun.net.util=ALL-UNNAMED"
}

fetch_flink() { # the PyPI package contains the jars of Flink but not its scripts; hence the java commands below
    [ ! -d "$flink" ] || return 0
    say "downloading Flink $flink_version, about 300 MB; this is done once"
    local download=$home/download.$$
    mkdir -p "$download/unpacked"
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
        --dest "$download" "apache-flink-libraries==$flink_version" ||
        { rm -rf "$download"; fail "Flink $flink_version (PyPI: apache-flink-libraries) could not be downloaded"; }
    tar -xzf "$download"/*.tar.gz -C "$download/unpacked" --strip-components 3 --wildcards '*/deps/lib/*'
    [ -d "$flink" ] || mv "$download/unpacked" "$flink" # another process may have been faster
    rm -rf "$download"
}

fetch_job_server() { # sets $jar to its path
    jar=${FLINK_JOB_SERVER_JAR:-$job_server/job-server.jar}
    [ ! -f "$jar" ] || return 0
    [ -z "${FLINK_JOB_SERVER_JAR:-}" ] || fail "FLINK_JOB_SERVER_JAR=$jar does not exist" 2
    command -v mvn >/dev/null ||
        fail "Beam's job server is assembled by Maven, but mvn is not installed: install it, or set FLINK_JOB_SERVER_JAR" 2
    say "downloading Beam's job server $job_server_version for Flink, about 150 MB; this is done once"
    local download=$home/download.$$
    mkdir -p "$download"
    mvn --quiet --batch-mode --file "$root/scripts/flink/pom.xml" dependency:copy-dependencies jar:jar \
        "-Dflink.line=${flink_version%.*}" "-Dbeam.version=$job_server_version" "-Dtarget=$download/target" \
        >"$home/maven.log" 2>&1 ||
        { rm -rf "$download"; fail "Maven cannot download Beam's job server (see $home/maven.log): set FLINK_JOB_SERVER_JAR to a copy of it" 3; }
    [ -d "$job_server" ] || mv "$download/target" "$job_server" # another process may have been faster
    rm -rf "$download"
}

# ------------------------------------------------------------------------------------------- the cluster

write_configuration() {
    local cores
    cores=$(getconf _NPROCESSORS_ONLN)
    rm -rf "$state"
    mkdir -p "$state/conf" "$state/tmp"
    # Each task manager has slots for the whole job, so that one can take over from the other. A task manager is lost
    # if it does not answer for 20 s; by default, Flink waits for almost a minute.
    cat >"$state/conf/config.yaml" <<END
jobmanager.rpc.address: localhost
jobmanager.rpc.port: $rpc_port
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1g
rest.address: localhost
rest.bind-address: localhost
rest.port: $port
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: $cores
taskmanager.load-balance.mode: SLOTS
taskmanager.cpu.cores: $cores
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
parallelism.default: $cores
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 3
restart-strategy.fixed-delay.delay: 1 s
heartbeat.interval: 2000
heartbeat.timeout: 20000
io.tmp.dirs: $state/tmp
END
    cat >"$state/conf/log4j.properties" <<END
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = Out
appender.out.name = Out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %-5p %c{1} %m%n
END
}

launch() { # NAME COMMAND...: runs in a new process group, so that its child processes are stopped with it
    local name=$1
    shift
    set -m
    (exec "$@") >"$state/$name.log" 2>&1 </dev/null &
    set +m
    echo $! >"$state/$name.pid"
    disown $!
}

launch_java() { # NAME HEAP_MEGABYTES CLASS
    launch "$1" "$java" "-Xmx$2m" -XX:MaxMetaspaceSize=256m "-Djava.io.tmpdir=$state/tmp" \
        "-Dlog4j.configurationFile=$state/conf/log4j.properties" \
        -cp "$flink/*" "org.apache.flink.runtime.$3" --configDir "$state/conf"
}

running() { # NAME: succeeds if its process runs and is ours, since process ids are reused
    local pid
    pid=$(cat "$state/$1.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null &&
        { [ ! -r "/proc/$pid/cmdline" ] || tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -e "$state/conf" -e "--service_port=$pool_port"; }
}

task_managers() { # prints how many have registered; prints nothing if the job manager does not answer
    .venv/bin/python - "$port" <<'END' 2>/dev/null || true
import json, sys, urllib.request
with urllib.request.urlopen(f"http://localhost:{sys.argv[1]}/overview", timeout=2) as response:
    print(json.load(response)["taskmanagers"])
END
}

all_running() {
    local name
    for name in $services; do running "$name" || return 1; done
}

start() {
    if all_running; then
        say "already running on port $port"
        return
    fi
    check_java
    [ -x .venv/bin/python ] || fail ".venv does not exist: run ./scripts/quickstart.sh or ./scripts/test.sh first" 2
    fetch_flink
    stop_quietly
    check_ports
    write_configuration
    trap 'stop_quietly' EXIT # if the start fails, nothing is left running
    launch_java job-manager 512 entrypoint.StandaloneSessionClusterEntrypoint
    launch_java task-manager-1 384 taskexecutor.TaskManagerRunner
    launch_java task-manager-2 384 taskexecutor.TaskManagerRunner
    # The pool starts its workers by the command `python`, which must find Beam and this project.
    PATH="$root/.venv/bin:$PATH" PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" launch worker-pool \
        "$root/.venv/bin/python" -m apache_beam.runners.worker.worker_pool_main "--service_port=$pool_port"
    await_cluster
    trap - EXIT
    say "two task managers on http://localhost:$port, worker pool on port $pool_port, logs in $state"
}

check_ports() {
    .venv/bin/python - "$port" "$rpc_port" "$pool_port" <<'END' || exit 2
import socket, sys
for port in map(int, sys.argv[1:]):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError:
            sys.exit(f"flink_local: port {port} is used by another program: set FLINK_LOCAL_PORT")
END
}

await_cluster() {
    local second name
    for second in $(seq 120); do
        for name in $services; do
            running "$name" || fail "the $name ended while it was starting: see $state/$name.log"
        done
        [ "$(task_managers)" != 2 ] || return 0
        sleep 1
    done
    fail "the cluster did not start within two minutes: see the logs in $state"
}

stop_quietly() {
    local name tenth left
    for signal in TERM KILL; do
        left=
        for name in $services; do
            if running "$name"; then
                kill "-$signal" -- "-$(cat "$state/$name.pid")" 2>/dev/null || true
                left=1
            fi
        done
        for tenth in $(seq 50); do
            [ -n "$left" ] || break
            left=
            for name in $services; do ! running "$name" || left=1; done
            [ -z "$left" ] || sleep 0.1
        done
    done
    rm -f "$state"/*.pid
    rm -rf "$state/tmp" # copies of jars and spilled data; the logs are kept
}

status() {
    local name
    for name in $services; do
        if running "$name"; then echo "$name: running, process $(cat "$state/$name.pid")"; else echo "$name: not running"; fi
    done
    all_running
}

# ------------------------------------------------------------------------------------------- the job

run() {
    check_java
    fetch_job_server
    if ! all_running; then
        start
        trap stop_quietly EXIT
    fi
    # Relative paths in the flags refer to the caller's folder. The task managers see the same disk.
    cd "$caller"
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$root/.venv/bin/python" -m preprocess --runner FlinkRunner \
        --flink_master "localhost:$port" --flink_version "${flink_version%.*}" --flink_job_server_jar "$jar" \
        --job_server_java_launcher "$java" --environment_type EXTERNAL --environment_config "localhost:$pool_port" "$@"
}

usage() { sed -n 's/^# \{0,1\}//; 2,/^set /{/^set /!p;}' "$root/scripts/flink_local.sh"; }

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
run) run "$@" ;;
start) start ;;
stop) stop_quietly ;;
status) status ;;
fetch) check_java; fetch_flink; fetch_job_server ;;
help | -h | --help) usage ;;
*) fail "there is no command $command: use run, start, status, stop or fetch" 2 ;;
esac
