#!/usr/bin/env bash
# PID 1 of one node, called with NAME NODE_FOLDER PROGRAM_FOLDER: started in fresh network, mount, PID, UTS and
# IPC namespaces and in the node's own cgroup. Killing this process is the node's power cut.
set -eu
readonly name=$1 folder=$2 programs=$3
hostname "$name"
ulimit -n "$(ulimit -Hn)"

# The node's own /run (lost at a power cut), /var/lib and /var/log (its disk, kept).
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/cgroup /run/sysctl "$folder"/var-lib "$folder"/var-log
mount --bind "$folder/var-lib" /var/lib
mount --bind "$folder/var-log" /var/log

# /sys must show this network namespace; the cgroup tree is carried over.
mount --rbind /sys/fs/cgroup /run/cgroup
umount -R -l /sys
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -R -l /run/cgroup

# The kubelet insists on these values. They are global to the machine, so it is shown a file instead.
# A new boot id makes it see a power cut as a reboot.
show() { printf '%s\n' "$2" > "/run/sysctl/${1//\//.}"; mount --bind "/run/sysctl/${1//\//.}" "/proc/sys/$1"; }
show vm/overcommit_memory 1
show vm/panic_on_oom 0
show kernel/panic 10
show kernel/panic_on_oops 1
show kernel/keys/root_maxkeys 1000000
show kernel/keys/root_maxbytes 25000000
show kernel/random/boot_id "$(cat /proc/sys/kernel/random/uuid)"
mount --make-rshared /

# As an init system would: restart what ends.
keep() { local log=/var/log/$1.log; shift; while :; do "$@" >> "$log" 2>&1 || true; sleep 1; done; }
keep containerd containerd --config "$folder/containerd.toml" &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
keep kubelet "$programs/kubelet" --config="$folder/kubelet.yaml" --kubeconfig="$folder/kubelet.kubeconfig" \
  --hostname-override="$name" --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki \
  $(cat "$folder/kubelet.flags") &
keep kube-proxy "$programs/kube-proxy" --config="$folder/kube-proxy.yaml" --hostname-override="$name" &
[ "$(cat "$folder/gpus")" = 0 ] || keep fake-gpu "$programs/fake-gpu" "$(cat "$folder/gpus")" &
while :; do wait || true; sleep 1; done
