#!/bin/sh
# Creates the certificates of tests/it/tls.rs again. They expire in 2126.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
touch "$work/index"
cat >"$work/config" <<END
[ca]
default_ca = default
[default]
database = $work/index
new_certs_dir = $work
serial = $work/serial
rand_serial = yes
default_md = sha256
policy = policy
[policy]
commonName = supplied
END

# A certificate with this name, host names, first and last day, and purpose, signed by the authority.
sign() {
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=%s\n' "$2" "$5" >"$work/extensions"
    openssl req -new -key server.key -subj "/CN=$1" -out "$work/request"
    openssl ca -batch -notext -config "$work/config" -cert authority.pem -keyfile "$work/authority.key" \
        -in "$work/request" -startdate "$3" -enddate "$4" -extfile "$work/extensions" -out "$1.pem"
}

openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/authority.key"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.key
openssl req -x509 -key "$work/authority.key" -days 36500 -subj '/CN=Authority of the tests' -out authority.pem
openssl req -x509 -key server.key -days 36500 -subj '/CN=self-signed' -addext subjectAltName=IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE -out self-signed.pem
sign valid 'IP:127.0.0.1,DNS:host.invalid' 20200101000000Z 21260101000000Z serverAuth
sign other-host 'DNS:other.invalid,IP:127.0.0.2' 20200101000000Z 21260101000000Z serverAuth
sign expired IP:127.0.0.1 20200101000000Z 20210101000000Z serverAuth
sign not-yet-valid IP:127.0.0.1 21250101000000Z 21260101000000Z serverAuth
sign for-clients IP:127.0.0.1 20200101000000Z 21260101000000Z clientAuth
rm -r "$work"
