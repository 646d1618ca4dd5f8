#!/bin/sh
# pages.sh: the steps in which a user pastes from the README and from the pages in docs/, and those that see what came of it. It is a part
# of steps.sh.

# paste PAGE [SECTION]: what a user of this host pastes from a page into a terminal, in a checkout.
paste() {
    id user >/dev/null 2>&1 || {
        useradd --create-home --shell /bin/bash user
        echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user
        cp -R checkout /home/user/portmap
        chown -R user: /home/user
        # Go is this machine's, with the modules that it has: there is no network.
        cat >/etc/profile.d/boot-test.sh <<'END'
PATH=$PATH:/usr/local/go/bin
export GOPROXY=off GOTOOLCHAIN=local GOMODCACHE=/opt/go-mod GOCACHE=/opt/go-build
END
    }
    script=/opt/boot/paste/$1${2:+/$2}.sh
    [ -e "$script" ] || die "there is no such section: $script"
    script -qec "su - user -c 'cd portmap && bash -eux $script'" /run/boot/pasted </dev/null
}

# terminal: the server runs in a terminal that stays open until the next step.
terminal() {
    systemctl disable --now rwserve
    paste coming-from started-from-a-terminal &
    within 20 listens || die 'the server does not listen'
    site
    pkill -u rwserve node
}

# letsencrypt: starts what stands for Let's Encrypt, in the clients' network; both know each other by name. Its root certificate is a new
# one at each start, so the site gets its certificate before the first reboot.
letsencrypt() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout letsencrypt.key -out letsencrypt.pem -days 30 \
        -subj /CN=letsencrypt -addext subjectAltName=DNS:acme-v02.api.letsencrypt.org,DNS:acme-staging-v02.api.letsencrypt.org
    cat letsencrypt.pem >>/etc/ssl/certs/ca-certificates.crt
    printf '%s\n' '192.0.2.1 www.example.org' '2001:db8::1 www.example.org' \
        '192.0.2.2 acme-v02.api.letsencrypt.org acme-staging-v02.api.letsencrypt.org' >>/etc/hosts
    systemctl start letsencrypt
    within 60 curl -sf -o /dev/null https://acme-v02.api.letsencrypt.org/directory || die "$(journalctl -u letsencrypt -n 5)"
    ip netns exec client curl -sSk https://127.0.0.1:15000/roots/0 >/opt/boot/roots.pem
}

# site: https://www.example.org is there, with its certificate, for all clients, from a server of rwserve's on 8443 and nobody on 443.
site() {
    within 60 greets_all || die "$(cat /run/boot-unlike)"
    [ -z "$(ss -Hltn 'sport = 443')" ] || die "somebody listens on 443: $(ss -Hltnp 'sport = 443')"
    process=$(ss -Hltnp 'sport = 8443' | sed -n 's/.*pid=\([0-9]*\).*/\1/p')
    [ "$(stat -c %U "/proc/$process")" = rwserve ] || die "the server is not rwserve's: $(ss -Hltnp 'sport = 8443')"
    portmap diff || die "file and kernel differ: $(portmap diff 2>&1)"
}

newline='
'
# greets CLIENT FAMILY COMMAND...
greets() {
    # shellcheck disable=SC2034 # for ask
    options="--cacert /opt/boot/roots.pem $2"
    greeting="Hello, $1$newline"
    shift 2
    says "$greeting" https://www.example.org/ "$@"
}

greets_all() {
    greets ::ffff:192.0.2.2 -4 ip netns exec client && greets 2001:db8::2 -6 ip netns exec client &&
        greets ::ffff:192.0.2.1 -4 env && greets 2001:db8::1 -6 env
}

certificate() {
    openssl s_client -connect 192.0.2.1:443 -servername www.example.org </dev/null 2>/dev/null | openssl x509 -noout -serial
}

changed() { [ "$(certificate)" != "$before" ]; }

# renews COMMAND...: the site has another certificate after it.
renews() {
    before=$(certificate)
    "$@"
    within 20 changed || die "the certificate is the old one, $before"
    site
}

# renews_alive COMMAND...: and the server was not restarted for it.
renews_alive() {
    server=$(property rwserve MainPID)
    renews "$@"
    [ "$(property rwserve MainPID)" = "$server" ] || die 'the server was restarted'
}

# had WHAT: this host reaches the server on 443 in another way than by a mapping.
had() {
    case "$1" in
    setcap)
        id rwserve 2>/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin rwserve
        setcap cap_net_bind_service=+ep "$(readlink -f /usr/bin/node)"
        # shellcheck disable=SC2016 # expanded by systemd
        sed -e 's/8443/${PORT}/; /^User/a Environment=PORT=443' -i /etc/systemd/system/rwserve.service
        systemctl daemon-reload
        systemctl enable --now rwserve
        ;;
    forward-port)
        firewall-offline-cmd --add-forward-port=port=443:proto=tcp:toport=8443
        systemctl enable --now firewalld
        ;;
    redirect)
        iptables -t nat -A PREROUTING -p tcp --dport 443 -j REDIRECT --to-port 8443
        iptables-save >/etc/iptables/rules.v4
        ;;
    rinetd)
        echo '0.0.0.0 443 127.0.0.1 8443' >>/etc/rinetd.conf
        systemctl enable --now rinetd
        ;;
    esac
    within 20 ask https://192.0.2.1/ ip netns exec client || die "443 is not answered by way of $1"
}

# incapable: node has its capability no more.
incapable() { [ -z "$(getcap "$(readlink -f /usr/bin/node)")" ] || die 'node still has a capability'; }

# banned: a client that firewalld's zone keeps out, and that reaches the mapping all the same.
banned() {
    firewall-cmd --permanent --zone=drop --add-source=192.0.2.2 --add-source=2001:db8::2
    firewall-cmd --reload
    shut
    reach 10
}
