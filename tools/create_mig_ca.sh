#!/usr/bin/env bash
# Makes a private certificate authority for a MIG platform, and certificates
# for the relay, the scheduler, the workers and the agents. Run it in a
# directory made for the purpose; it overwrites nothing.
#
#   create_mig_ca.sh                            asks for the name of the relay
#   create_mig_ca.sh --non-interactive [NAME]   takes NAME, or MIG_RELAY_NAME
#
# MIG_RELAY_ALT_NAMES: more names or addresses of the relay, separated by
# spaces. MIG_CERT_DAYS: how long certificates last (1095).
#
# Keep ca/ca.key here, and nowhere else.
set -euo pipefail

roles=(rabbitmq scheduler worker agent)
days=${MIG_CERT_DAYS:-1095}

fail() {
    echo "ERROR: $*" >&2
    exit 1
}

interactive=yes
relay=${MIG_RELAY_NAME-}
case "${1-}" in
-h | --help)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
--non-interactive)
    interactive=no
    relay=${2-$relay}
    ;;
'') ;;
*)
    echo "usage: create_mig_ca.sh [--non-interactive [name of the relay]]" >&2
    exit 2
    ;;
esac
command -v openssl >/dev/null || fail "openssl is not installed"
[[ $days =~ ^[1-9][0-9]{0,4}$ ]] || fail "MIG_CERT_DAYS is no number of days"
for path in ca "${roles[@]/%/.key}" "${roles[@]/%/.crt}" "${roles[@]/%/.csr}"; do
    [ ! -e "$path" ] || fail "$path exists in this directory and is not overwritten"
done
if [ "$interactive" = yes ]; then
    read -r -p "enter the public dns name of the rabbitmq server agents will connect to> " relay
fi

# `DNS:name` or `IP:address`, as certificates have it.
alternative() {
    if [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$ || $1 == *:* ]]; then
        [[ $1 =~ ^[0-9A-Fa-f:.]+$ ]] || fail "\"$1\" is no address"
        echo "IP:$1"
    elif [[ ${#1} -le 253 && $1 =~ ^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$ ]]; then
        echo "DNS:$1"
    else
        fail "\"$1\" is no name of a machine"
    fi
}

names=$(alternative "$relay")
for other in ${MIG_RELAY_ALT_NAMES-}; do
    names+=,$(alternative "$other")
done
machine=$(hostname -f 2>/dev/null || hostname)

# Made aside and moved when complete: a run that fails leaves nothing.
work=$(mktemp -d ./.mig-ca.XXXXXX)
trap 'rm -rf "$work"' EXIT
place=$PWD
umask 077
if [ -e openssl.cnf ]; then cp openssl.cnf "$work/"; fi
cd "$work"
mkdir -p ca/certs
touch ca/index
echo 1000 >ca/serial
[ -e openssl.cnf ] || cat >openssl.cnf <<CNF
[ca]
default_ca = mig

[mig]
dir = ./ca
certificate = \$dir/ca.crt
private_key = \$dir/ca.key
database = \$dir/index
serial = \$dir/serial
new_certs_dir = \$dir/certs
default_md = sha256
default_days = $days
unique_subject = no
policy = any

[any]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
emailAddress = optional

[req]
distinguished_name = subject
default_md = sha256
prompt = no

[subject]
commonName = unused

[authority]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CNF

quiet() {
    local words
    words=$("$@" 2>&1) || { echo "$words" >&2; fail "$1 $2 failed"; }
}

subject="/C=US/ST=Florida/L=Gator Town/O=MIG"
quiet openssl req -config openssl.cnf -x509 -extensions authority -newkey rsa:2048 -nodes -days 3650 \
    -subj "$subject/OU=CA/CN=MIG CA $(date -u +%Y-%m-%d)" -keyout ca/ca.key -out ca/ca.crt
for role in "${roles[@]}"; do
    if [ "$role" = rabbitmq ]; then
        unit="RabbitMQ Relay" name=$relay alternatives=$names
    else
        unit=$role name=$role.$machine alternatives=$(alternative "$role.$machine"),DNS:$role
    fi
    # A common name ends at 64 characters; who verifies reads the alternatives.
    [ ${#name} -le 64 ] || name=$role
    cat >"$role.ext" <<EXT
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $alternatives
EXT
    # RSA, because agents of every age take it.
    quiet openssl req -config openssl.cnf -new -newkey rsa:2048 -nodes \
        -subj "$subject/OU=$unit/CN=$name" -keyout "$role.key" -out "$role.csr"
    quiet openssl ca -config openssl.cnf -batch -notext -days "$days" \
        -extfile "$role.ext" -in "$role.csr" -out "$role.crt"
    rm "$role.ext"
done
chmod 755 ca ca/certs
chmod 644 ./*.crt ./*.csr ca/ca.crt openssl.cnf
chmod 600 ./*.key ca/ca.key
for path in ca ./*.key ./*.crt ./*.csr openssl.cnf; do
    mv "$path" "$place/"
done
cd "$place"
echo "certificates for ${roles[*]} are in $PWD"
echo "they end on: $(openssl x509 -in agent.crt -noout -enddate | cut -d= -f2)"
echo "copy ca/ca.crt with each of them; ca/ca.key stays here"
