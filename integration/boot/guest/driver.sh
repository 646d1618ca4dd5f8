#!/bin/sh
# Goes through /opt/boot/plan, a step a line, with reboots where it says so, and tells of each on the console:
#
#   boot-test: PASS step             the verdict
#   boot-test: FAIL step: why        the last that is said; the guest ends
#   boot-test: NOTE anything         what was measured
#   boot-test: REBOOT, boot-test: END
set -u
cd /opt/boot || exit 1
limit=300 # seconds for one step, on an emulated machine
at=/var/lib/boot-test

# On a line of its own: the kernel and systemd write to the same console.
say() { printf '\nboot-test: %s\n' "$*"; }

finish() {
    say "$1"
    sync
    systemctl --no-block "$2"
    exit 0
}

done=0
[ ! -e $at ] || done=$(cat $at)
number=0
while read -r step; do
    number=$((number + 1))
    [ "$number" -gt "$done" ] || continue
    echo "$number" >$at
    [ "$step" != reboot ] || finish REBOOT reboot
    # shellcheck disable=SC2086 # a step is words
    timeout -k 5 "$limit" ./steps.sh $step >/run/boot-step 2>&1 </dev/null
    status=$?
    if [ $status = 0 ]; then
        grep '^NOTE ' /run/boot-step | while read -r note; do say "$note"; done
        say "PASS $step"
    else
        [ $status != 124 ] || echo "not ended after $limit s" >>/run/boot-step
        say "FAIL $step: $(tail -n 12 /run/boot-step | tr '\r\n' '  ')"
        break
    fi
done <plan
finish END poweroff
