#!/bin/bash
# build-align on the nodes of a Slurm job; the arguments are those of `llaso-data build-align`:
#
#   sbatch --nodes=4 --gpus-per-node=8 slurm.sh /data/speech --out /data/align --asr /data/whisper-large-v3
#
# Submit it from the activated environment, which lies, as do sources, model and output, where every node sees it.
# Two minutes before the time limit the run is stopped and the job queued again: it goes on from what is written.
#SBATCH --job-name=llaso
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=llaso-%j.log
set -u

for tool in ray llaso-data; do
    command -v "$tool" >/dev/null || { echo "$tool: not found; submit from the activated environment" >&2; exit 2; }
done

port=$((20000 + SLURM_JOB_ID % 10000))    # two jobs may share a node
# On every node, for Ray's sockets and logs; short, because of the sockets. Ray lets everybody write to what it makes,
# so it lies in a folder that is this user's alone.
temp=/tmp/llaso-$SLURM_JOB_ID
if [ "$SLURM_JOB_NUM_NODES" = 1 ]; then
    export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0    # Ray's word for a cluster of one machine, which may stay on loopback
    HEAD_IP=127.0.0.1
fi
# The address that Ray would take; HEAD_IP=... where the nodes reach each other by another network.
head_ip=${HEAD_IP:-$(python -c 'import ray; print(ray.util.get_node_ip_address())')}
export RAY_ADDRESS=$head_ip:$port
# Whoever reaches the ports and has no token runs code as you. Its file is this user's alone; every node must see it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${TOKEN_FOLDER:-$PWD}/.ray-token-$SLURM_JOB_ID
unset RAY_AUTH_TOKEN    # it would be taken instead
rm -f "$RAY_AUTH_TOKEN_PATH"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH") || exit 2
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT
export RAY_idle_worker_killing_time_threshold_ms=3600000    # a process that decodes stays for the next block
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")

# A task on each of the named nodes with all that the job has there.
on_nodes() {
    local list=$1 count=$2
    shift 2
    srun --overlap --nodelist="$list" --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --kill-on-bad-exit=0 \
        --cpus-per-task="$SLURM_CPUS_ON_NODE" --mem=0 "$@"
}

# Ray would count the cores of the whole machine; a job that is not alone on it has fewer.
ray_on_nodes() {
    local list=$1 count=$2
    shift 2
    # shellcheck disable=SC2016  # it expands there
    on_nodes "$list" "$count" bash -c 'mkdir -p -m 700 "$0" && [ -O "$0" ] && chmod 700 "$0" && exec "$@"' "$temp" \
        ray start "$@" --num-cpus="$SLURM_CPUS_ON_NODE" --temp-dir="$temp/ray" --disable-usage-stats --block \
        >>"ray-$SLURM_JOB_ID.log" 2>&1 &
    steps+=($!)
}

# Runs a command so that a signal reaches it: bash would wait for its end first.
heard() {
    "$@" &
    child=$!
    while wait "$child"; kill -0 "$child" 2>/dev/null; do :; done
    wait "$child"
}

# Asks until all nodes have joined, or five minutes are over: the run takes whoever comes later.
wait_for_nodes='
import sys, time
import ray

wanted, end = int(sys.argv[1]), time.monotonic() + 300
while True:
    try:
        ray.init(log_to_driver=False, logging_level="ERROR")
        break
    except (ConnectionError, RuntimeError, ValueError) as error:
        if time.monotonic() > end:
            sys.exit(f"the head of Ray does not answer: {error}")
        time.sleep(2)
while (here := sum(node["Alive"] for node in ray.nodes())) < wanted and time.monotonic() < end:
    time.sleep(1)
print(f"{here} of {wanted} nodes: {ray.cluster_resources()}", flush=True)
'

steps=()
child=
stopped=
again=
# shellcheck disable=SC2317,SC2329  # the traps call it
stop() {
    stopped=yes
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap 'again=yes; stop' USR1    # the time is nearly over
trap stop TERM                 # cancelled, or preempted: then Slurm itself queues the job again

ray_on_nodes "${nodes[0]}" 1 --head --node-ip-address="$head_ip" --port="$port" --include-dashboard=false
if [ "${#nodes[@]}" -gt 1 ]; then
    ray_on_nodes "$(IFS=,; echo "${nodes[*]:1}")" $((${#nodes[@]} - 1)) --address="$RAY_ADDRESS"
fi

heard python -c "$wait_for_nodes" "${#nodes[@]}"
status=$?
if [ "$status" -eq 0 ] && [ -z "$stopped" ]; then
    heard llaso-data build-align "$@"
    status=$?
fi

kill "${steps[@]}" 2>/dev/null
wait "${steps[@]}"
on_nodes "$SLURM_JOB_NODELIST" "${#nodes[@]}" rm -rf "$temp" 2>/dev/null || rm -rf "$temp"    # a cancelled job gets no step
if [ -n "$again" ] && [ "$status" -ne 0 ]; then
    echo "stopped before the time limit; queued again"
    scontrol requeue "$SLURM_JOB_ID" && sleep 60    # it ends this script
fi
exit "$status"
