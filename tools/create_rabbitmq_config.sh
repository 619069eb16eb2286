#!/usr/bin/env bash
# Prepares the RabbitMQ of this machine for MIG: users with random passwords,
# virtual host, permissions, TLS with client certificates, replicated queues.
#
#   create_rabbitmq_config.sh [options] [length of the passwords, 32]
#
#   --guide-permissions   the permissions MIG always had, with which agents can
#                         read the queues of heartbeats and results
#   --queues KIND         quorum or classic; on RabbitMQ 4 and later quorum,
#                         before that classic with mirrors
#   --no-plain            no listener without TLS, not even on the loopback
#   --reset-passwords     give users that exist new passwords
#   --no-restart          leave the restart of the broker to you
#
# For unusual places: MIG_RABBITMQCTL (rabbitmqctl), MIG_RABBITMQ_DIR
# (/etc/rabbitmq), MIG_TLS_PORT (5671), MIG_PLAIN_PORT (5672).
set -euo pipefail

directory=${MIG_RABBITMQ_DIR:-/etc/rabbitmq}
tls_port=${MIG_TLS_PORT:-5671}
plain_port=${MIG_PLAIN_PORT:-5672}
permissions=tight queues= plain=yes reset=no restart=yes length=32
users=(admin scheduler agent worker)

fail() {
    echo "ERROR: $*" >&2
    exit 1
}
usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) usage; exit 0 ;;
    --guide-permissions) permissions=guide ;;
    --queues) shift; queues=${1-} ;;
    --no-plain) plain=no ;;
    --reset-passwords) reset=yes ;;
    --no-restart) restart=no ;;
    *)
        [[ $1 =~ ^[0-9]+$ && $1 -ge 16 && $1 -le 128 ]] || { usage >&2; exit 2; }
        length=$1
        ;;
    esac
    shift
done
case "$queues" in '' | quorum | classic) ;; *) usage >&2; exit 2 ;; esac

ctl() {
    if [ -n "${MIG_RABBITMQCTL-}" ]; then
        "$MIG_RABBITMQCTL" -q "$@"
    elif [ "$(id -u)" = 0 ]; then
        rabbitmqctl -q "$@"
    else
        sudo rabbitmqctl -q "$@"
    fi
}

# Letters and digits only: nothing a program would take for an option, and
# nothing an address would have to escape.
random_password() {
    local characters
    characters=$(head -c 4096 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9')
    printf '%s' "${characters:0:length}"
}

[ -d "$directory" ] || fail "$directory does not exist; is RabbitMQ installed?"
version=$(ctl version | tail -n 1) || fail "rabbitmqctl does not answer"
[[ $version =~ ^([0-9]+)\.([0-9]+) ]] || fail "cannot read the version \"$version\""
major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
[ "$major" -gt 3 ] || [ "$minor" -ge 8 ] || fail "RabbitMQ $version is too old; 3.8 or newer is needed"
if [ -z "$queues" ]; then
    if [ "$major" -ge 4 ]; then queues=quorum; else queues=classic; fi
fi
if [ "$queues" = quorum ] && [ "$major" -eq 3 ] && [ "$minor" -lt 10 ]; then
    fail "RabbitMQ $version cannot make quorum queues the default; 3.10 or newer can"
fi

known=$(ctl list_users | cut -f 1)
exists() { grep -qx -- "$1" <<<"$known"; }
for user in "${users[@]}"; do
    if exists "$user" && [ "$reset" = no ]; then
        fail "user $user exists already, nothing was changed; --reset-passwords gives new passwords"
    fi
done
vhosts=$(ctl list_vhosts name)
if ! grep -qx mig <<<"$vhosts"; then
    if [ "$queues" = quorum ]; then
        ctl add_vhost mig --default-queue-type quorum
    else
        ctl add_vhost mig
    fi
elif [ "$queues" = quorum ]; then
    echo "note: virtual host mig exists and keeps its default type of queue" >&2
fi >/dev/null

report=
for user in "${users[@]}"; do
    password=$(random_password)
    # Through standard input, so that no list of processes shows it.
    if exists "$user"; then
        ctl change_password "$user" <<<"$password" >/dev/null
    else
        ctl add_user "$user" <<<"$password" >/dev/null
    fi
    report+="$user $password"$'\n'
done
ctl set_user_tags admin administrator
if exists guest; then ctl delete_user guest; fi

if [ "$permissions" = guide ]; then
    endpoints='mig\.agt\..*'
else
    endpoints='mig\.agt\.(linux|darwin|windows)\..*'
fi
ctl set_permissions -p mig scheduler \
    '^(toagents|toschedulers|toworkers|mig\.agt\..*)$' \
    '^(toagents|toworkers|mig\.agt\.(heartbeats|results))$' \
    '^(toagents|toschedulers|toworkers|mig\.agt\.(heartbeats|results))$'
ctl set_permissions -p mig agent "^$endpoints\$" "^(toschedulers|$endpoints)\$" "^(toagents|$endpoints)\$"
ctl set_permissions -p mig worker '^migevent\..*$' '^migevent(|\..*)$' '^(toworkers|migevent\..*)$'

# Mirrors went away with RabbitMQ 4; quorum queues replicate by themselves.
if [ "$major" -eq 3 ] && [ "$queues" = classic ]; then
    ctl set_policy -p mig --apply-to queues mig-mirror-all '^mig(event)?\.' '{"ha-mode":"all"}' >/dev/null
    replication="classic queues, mirrored by policy mig-mirror-all"
elif [ "$queues" = quorum ]; then
    replication="quorum queues, by default of virtual host mig"
else
    replication="classic queues on one node each, without replicas"
fi

configuration=$directory/rabbitmq.conf
new=$(mktemp "$directory/.rabbitmq.conf.XXXXXX")
trap 'rm -f "$new"' EXIT
{
    echo "# Made by create_rabbitmq_config.sh."
    if [ "$plain" = yes ]; then
        echo "listeners.tcp.1 = 127.0.0.1:$plain_port"
    else
        echo "listeners.tcp = none"
    fi
    cat <<CONF
listeners.ssl.1 = $tls_port
ssl_options.cacertfile = $directory/ca.crt
ssl_options.certfile = $directory/rabbitmq.crt
ssl_options.keyfile = $directory/rabbitmq.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
ssl_options.honor_cipher_order = true
ssl_options.ciphers.1 = TLS_AES_256_GCM_SHA384
ssl_options.ciphers.2 = TLS_AES_128_GCM_SHA256
ssl_options.ciphers.3 = TLS_CHACHA20_POLY1305_SHA256
ssl_options.ciphers.4 = ECDHE-RSA-AES256-GCM-SHA384
ssl_options.ciphers.5 = ECDHE-RSA-AES128-GCM-SHA256
CONF
} >"$new"
if [ -e "$configuration" ]; then
    [ ! -e "$configuration.bkp" ] || cp -p "$configuration.bkp" "$configuration.bkp.1"
    mv "$configuration" "$configuration.bkp"
fi
chmod 640 "$new"
mv "$new" "$configuration"
files=("$configuration")
missing=no
for file in ca.crt rabbitmq.crt rabbitmq.key; do
    if [ -e "$directory/$file" ]; then files+=("$directory/$file"); else missing=yes; fi
done
if [ "$(id -u)" = 0 ] && id rabbitmq >/dev/null 2>&1; then chown rabbitmq "${files[@]}"; fi
if [ -e "$directory/rabbitmq.key" ]; then chmod 600 "$directory/rabbitmq.key"; fi

echo "rabbitmq configured with the following users:"
printf '%s' "$report"
echo
echo "queues of RabbitMQ $version: $replication"
if [ "$missing" = no ] && [ "$restart" = yes ]; then
    systemctl restart rabbitmq-server || fail "cannot restart rabbitmq-server"
    echo "rabbitmq-server was restarted"
else
    echo "copy ca.crt and rabbitmq.{crt,key} into $directory/"
    echo "then run: systemctl restart rabbitmq-server"
fi
