#!/usr/bin/env bash
# Trains on several nodes of a Slurm cluster, one worker per node:
#
#   sbatch train/launch/slurm.sh                     # from the repository's folder
#   sbatch --nodes=8 train/launch/slurm.sh --config.epochs=5
#
# Edit the lines below, up to "Nothing to edit". Arguments go to train.main after its other flags.
#
# What has to be there before: ImageNet, prepared once with `tfds build imagenet2012` from
# ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in $TFDS_DATA_DIR/downloads/manual; and the
# ImageNet weights of InceptionV3. Keras downloads these once per machine, into ~/.keras. Where nodes
# have no network, either a node that has one fills a shared home (or KERAS_HOME), or a file is
# named: sbatch train/launch/slurm.sh --config.model_options.weights=inception_v3.weights.h5
#
#SBATCH --job-name=aad_tf
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --exclusive
# For GPUs:
##SBATCH --gpus-per-node=4  # with one # less
#SBATCH --output=%x-%j.log
#
# Survival: workers get SIGTERM two minutes before the time limit, save and end; the job goes back
# into the queue by itself, resumes from the last checkpoint, and goes on in the same log.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

CONFIG="${CONFIG:-train/configs/imagenet2012.py:aad_step_ll}"
MODEL_DIR="${MODEL_DIR:-runs/imagenet2012_aad_step_ll}" # on a file system that all nodes share
DATA_DIR="${DATA_DIR:-${TFDS_DATA_DIR:-}}"              # readable on every node; empty: TFDS's own
PYTHON="${PYTHON:-.venv/bin/python}"                    # on every node, with this package
MAX_RESTARTS="${MAX_RESTARTS:-20}"                      # of a job that crashes again and again

# Nothing to edit from here on.
set -uo pipefail

MISTAKE=2      # a worker's code after a mistake of the user's: another try would end alike
SAVED=143      # a worker's code after SIGTERM
MISTAKE_MARK=254

say() { echo "slurm.sh: $*" >&2; }

if [[ -z "${SLURM_JOB_ID:-}" ]]; then
    say "start me with: sbatch train/launch/slurm.sh"
    exit "$MISTAKE"
fi
if [[ ! -f train/main.py ]]; then
    say "give sbatch from the repository's folder: there is no train/main.py in $PWD."
    exit "$MISTAKE"
fi
if ! command -v "$PYTHON" >/dev/null; then
    say "there is no $PYTHON: run 'make demo' once in this folder, or set PYTHON."
    exit "$MISTAKE"
fi

flags=("--strategy=multi_worker" "--config=$CONFIG" "--model_dir=$MODEL_DIR")
if [[ -n "$DATA_DIR" ]]; then
    flags+=("--data_dir=$DATA_DIR")
fi

# srun ends with the highest code of all workers. A mistake of one makes the others end with higher
# codes, so that worker ends with a code higher still, by the shell around it. Slurm may give its
# signals to that shell alone, which hands them on.
# shellcheck disable=SC2016 # expanded by the shell that each worker runs in
worker='mistake=$1 mark=$2 signals=0 child=; shift 2
        trap "signals=\$((signals + 1)); kill -TERM \$child 2>/dev/null" TERM
        "$@" & child=$!
        while true; do
            before=$signals
            wait "$child"; code=$?
            ((before == signals)) && break
        done
        [[ $code == "$mistake" ]] && exit "$mark"; exit "$code"'

# SIGTERM to this script is scancel's, or that of a scheduler that requeues by itself. It is handed
# to the workers by Slurm: srun itself would kill them on SIGTERM without letting them save.
stopped=0
# shellcheck disable=SC2329 # called by the trap
hand_on() {
    stopped=$((stopped + 1))
    scancel --signal=TERM "$SLURM_JOB_ID" || say "the workers had been asked to end already."
}
trap hand_on TERM

export PYTHONUNBUFFERED=1
# With these the C library keeps freed memory. TensorFlow's server takes each tensor on the CPU from
# it, and fetching large pieces from the kernel each time cost a quarter of a step of InceptionV3.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647
say "job $SLURM_JOB_ID, ${SLURM_JOB_NUM_NODES:-1} nodes, start $((${SLURM_RESTART_COUNT:-0} + 1))"
# A worker that fails or is lost makes the others end, too; --wait is for those that hang.
srun --ntasks="${SLURM_JOB_NUM_NODES:-1}" --ntasks-per-node=1 \
    --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=600 --label \
    bash -c "$worker" worker "$MISTAKE" "$MISTAKE_MARK" \
    "$PYTHON" -m train.main "${flags[@]}" "$@" &
workers=$!

# A signal interrupts wait, which then has to be called again.
while true; do
    before=$stopped
    wait "$workers"
    code=$?
    ((before == stopped)) && break
done

requeue() {
    say "$1: going back into the queue, to resume from the last checkpoint."
    scontrol requeue "$SLURM_JOB_ID" || say "this cluster does not requeue: sbatch me again."
}

if ((code == 0)); then
    say "finished: $MODEL_DIR"
elif ((code == MISTAKE_MARK)); then
    say "a worker ended with code $MISTAKE, a mistake to be corrected: see its message above."
    code=$MISTAKE
elif ((stopped)); then
    say "stopped; the same sbatch resumes."
elif ((code == SAVED)); then
    requeue "the workers were asked to end and have saved"
elif ((${SLURM_RESTART_COUNT:-0} < MAX_RESTARTS)); then
    requeue "a worker ended with code $code"
else
    say "a worker ended with code $code, after $MAX_RESTARTS restarts: giving up."
fi
exit "$code"
