#!/bin/sh
# Brings the network up: this host, and a client on another one.
#
#   client  192.0.2.2, 2001:db8::2 ──── eth0 ════ host0 ──── 192.0.2.1, 2001:db8::1  this host
set -eu
mkdir -p /run/boot
# What the kernel holds before the first packet can come; others' word, not portmap's own.
{
    nft list ruleset || echo 'no nf_tables'
    ! grep -qs . /proc/net/ip_tables_names || iptables-legacy-save
} >/run/boot/rules-before-network

ip netns add client
ip link add host0 type veth peer name eth0 netns client
ip address add 192.0.2.1/24 dev host0
ip address add 2001:db8::1/64 dev host0 nodad
ip -n client address add 192.0.2.2/24 dev eth0
ip -n client address add 2001:db8::2/64 dev eth0 nodad
ip -n client link set lo up
ip -n client link set eth0 up
ip link set host0 up
