# Builds the root tree that the machines of `vesemir lab up --systemd` share: Debian's smallest, with systemd, sshd, sudo,
# Python and HAProxy. Runs in a mount namespace of its own. TREE, RELEASE, ARCHITECTURE and MIRROR come from outside.
trap 'rm -rf -- "$TREE"' EXIT
debootstrap --variant=minbase --arch="$ARCHITECTURE" \
    --include=systemd,systemd-sysv,dbus,openssh-server,sudo,python3,python3-venv,haproxy \
    "$RELEASE" "$TREE" "$MIRROR"

# All machines share this one's network, so nothing that listens or asks anywhere starts by itself; nor does what only
# costs time. sshd has its address from each machine.
for unit in ssh.socket systemd-networkd.service systemd-networkd.socket systemd-resolved.service \
    systemd-timesyncd.service haproxy.service getty@tty1.service console-getty.service getty-static.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-pstore.service systemd-firstboot.service
do
    rm -f -- "$TREE/etc/systemd/system/"*.wants/"$unit"
done
ln -s /dev/null "$TREE/etc/systemd/system/ssh.socket"

# Packages come from where a machine is told, and from nowhere by itself.
rm -rf -- "$TREE"/var/cache/apt/* "$TREE"/var/lib/apt/lists/* "$TREE"/etc/ssh/ssh_host_* "$TREE/etc/machine-id"
: >"$TREE/etc/apt/sources.list"
: >"$TREE/etc/machine-id"

mkdir -p -- "$TREE/etc/systemd/system.conf.d" "$TREE/etc/systemd/journald.conf.d"
printf '[Manager]\nDefaultTimeoutStopSec=5s\n' >"$TREE/etc/systemd/system.conf.d/lab.conf"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >"$TREE/etc/systemd/journald.conf.d/lab.conf"

chroot "$TREE" groupadd --gid @DEPLOY_ID@ @DEPLOY@
chroot "$TREE" useradd --uid @DEPLOY_ID@ --gid @DEPLOY_ID@ --create-home --shell /bin/sh --password '*' @DEPLOY@
chroot "$TREE" groupadd --gid @APPLICATION_ID@ @APPLICATION@
chroot "$TREE" useradd --uid @APPLICATION_ID@ --gid @APPLICATION_ID@ --no-create-home --home-dir /srv/@APPLICATION@ \
    --shell /usr/sbin/nologin --password '*' @APPLICATION@
trap - EXIT
