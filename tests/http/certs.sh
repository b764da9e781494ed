#!/usr/bin/env bash
# deploy/certs: makes, keeps, renews and rotates; the gateway takes what it makes.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/kombi-certs-XXXXXX")
trap 'rm -rf "$dir"' EXIT
good=0 bad=0

check() { # TITLE COMMAND...
	local title=$1
	shift
	if "$@" >"$dir/said" 2>&1; then good=$((good + 1)) && echo "ok - $title"; else
		bad=$((bad + 1)) && echo "not ok - $title" && sed 's/^/# /' "$dir/said"
	fi
}
certs() { "$root/deploy/certs" "$@"; }
says() { local want=$1; shift; [ "$("$@" 2>&1)" = "$want" ] || { "$@"; return 1; }; }
verifies() { openssl verify -CAfile "$dir/c/ca.pem" -verify_hostname "$2" "$dir/c/$1.pem"; }
fails() { ! "$@"; }
mode() { [ "$(stat -c %a "$dir/c/$1")" = "$2" ]; }
gateway_takes() {
	printf '_format_version: "3.0"\nservices:\n- {name: s, url: "http://127.0.0.1:9", routes: [{name: r, paths: [/r]}]}\n' >"$dir/kong.yml"
	KOMBI_ENVIRONMENT=development KONG_DECLARATIVE_CONFIG=$dir/kong.yml KOMBI_TLS_CERT_FILE=$dir/c/gateway.pem \
		KOMBI_TLS_KEY_FILE=$dir/c/gateway.key "${KOMBI_BIN_DIR:-$root/build/release/bin}/gateway" --check-config
}

check "the first run makes an authority and certificates" \
	says $'made authority\nmade gateway\nmade stack' certs "$dir/c" gateway=home.test,*.home.test stack
check "a certificate is good for its names" verifies gateway a.home.test
check "and for no other" fails verifies gateway other.test
check "without names it is good for its own" verifies stack stack
check "keys are closed to others" mode gateway.key 600
check "the authority's key too" mode authority/key.pem 600
check "the gateway takes what was made" gateway_takes
check "a second run makes nothing" says "" certs "$dir/c" gateway=home.test,*.home.test stack
check "other names make another certificate" says "made stack" certs "$dir/c" gateway=home.test,*.home.test stack=s.test
check "what ends soon is renewed" says "made stack" certs --days 400 "$dir/c" stack=s.test
cp "$dir/c/gateway.pem" "$dir/c/old.pem"
check "a new authority makes new certificates" says $'made authority\nmade gateway' certs --rotate-ca "$dir/c" gateway=home.test
check "they are trusted" verifies gateway home.test
check "and so are the old ones until they end" verifies old home.test
check "nothing half made is left" fails compgen -G "$dir/c/*.new"
check "a name that is none is refused" fails certs "$dir/c" ../x
check "an option that is none is refused" fails certs --no "$dir/c" x
echo "$good passed, $bad failed"
[ "$bad" = 0 ]
