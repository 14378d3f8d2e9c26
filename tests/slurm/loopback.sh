#!/usr/bin/env bash
# A SLURM of one node on this machine, for the tests, as root: loopback.sh start|stop [FOLDER]; README.md says more.
# All lies in FOLDER, but for two links in /etc/slurm, where a step of a job looks for its configuration. Where there
# is a SLURM already, the script touches nothing.
set -euo pipefail
act=${1:-}
folder=$(realpath -m "${2:-${TMPDIR:-/tmp}/strokelib-slurm}")
export PATH=$PATH:/usr/sbin

stop() {
  for name in slurmd slurmctld munged; do
    if [ -s "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
  done
  for name in slurm gres; do
    if [ "$(readlink "/etc/slurm/$name.conf")" = "$folder/$name.conf" ]; then rm "/etc/slurm/$name.conf"; fi
  done
}

start() {
  if [ -e /etc/slurm/slurm.conf ]; then
    echo "/etc/slurm/slurm.conf is there: this machine has a SLURM of its own" >&2; exit 1
  fi
  for name in munged slurmctld slurmd sbatch; do
    command -v $name >/dev/null || { echo "$name is missing: apt-get install slurm-wlm munge" >&2; exit 1; }
  done
  mkdir -p "$folder"/{state,spool,munge}
  chmod 755 "$folder"; chmod 700 "$folder/munge"
  [ -s "$folder/munge/key" ] || (umask 077; head -c 128 /dev/urandom >"$folder/munge/key")
  # Pretended GPUs: SLURM hands them out and sets CUDA_VISIBLE_DEVICES; nothing can be computed on them.
  for n in 0 1; do [ -e "$folder/gpu$n" ] || mknod "$folder/gpu$n" c 1 3; done
  host=$(hostname -s)
  cat >"$folder/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SlurmdParameters=config_overrides
KillWait=5
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=200000 Gres=gpu:2
PartitionName=short Nodes=ALL Default=YES MaxTime=1-0
PartitionName=gpu Nodes=ALL MaxTime=1-0
CONF
  echo "Name=gpu File=$folder/gpu[0-1] Flags=nvidia_gpu_env" >"$folder/gres.conf"
  ln -s "$folder"/{slurm,gres}.conf /etc/slurm/
  munged --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" --force
  slurmctld
  slurmd
  for _ in $(seq 30); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then return; fi
    sleep 1
  done
  echo "the node did not come up; see $folder/slurmctld.log and $folder/slurmd.log" >&2
  exit 1
}

case $act in
  start) stop; start ;;
  stop) stop ;;
  *) echo "usage: loopback.sh start|stop [FOLDER]" >&2; exit 2 ;;
esac
