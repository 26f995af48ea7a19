#!/bin/bash
# Trains on the nodes of a Slurm job, one process a node with all its GPUs:
#
#     sbatch --nodes=4 launch/slurm.sh experiments/NAME.py [options of `jaxai train`]
#
# Submit it with jaxai on the PATH, from a folder that all nodes see: the run (runs/NAME, or --run) and the logs lie in it.
# A job that was preempted, reached its time limit or lost a node is queued again and goes on from its last checkpoint.
# `scancel JOB` ends it for good; Slurm's KillWait, 30 s by default, is what it has to save. `scancel --signal=INT JOB` waits.

#SBATCH --job-name=jaxai
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -u
max_requeues=20

# Under Slurm JAX gives each process one GPU, unless it is told which.
if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
  export JAX_LOCAL_DEVICE_IDS
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
fi

# The processes write to a file, so that what comes back is what srun says about their ends. The first that fails ends the
# others by itself, with 75; killed by srun they would not say why.
said=$(srun --kill-on-bad-exit=0 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  --open-mode=append --output="$SLURM_JOB_NAME-$SLURM_JOB_ID.out" \
  jaxai train "$@" --distributed 2>&1)
code=$?
echo "$said"

# What starting again does not change: bad input, storage, divergence, the user's Ctrl-C. srun gives the highest code only.
if [[ $said =~ exit\ code\ (2|3|4|130)($|[^0-9]) ]]; then
  exit "${BASH_REMATCH[1]}"
fi
if ((code != 0 && ${SLURM_RESTART_COUNT:-0} < max_requeues)); then
  echo "ended with exit code $code: queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
