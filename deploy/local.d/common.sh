# Where things are, how progress and failures are told. Sourced by deploy/local.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
local_dir=${KOMBI_LOCAL_DIR:-$root/.local}
bin_dir=${KOMBI_BIN_DIR:-$root/build/release/bin}
log_dir=$local_dir/log
run_dir=$local_dir/run
secrets_dir=$local_dir/secrets
tools_dir=$root/.local/tools

# NAME DEFAULT: environment first, then what the last `up` used, then this.
port_table="
KOMBI_GATEWAY_PORT 8000
KOMBI_GATEWAY_ADMIN_PORT 8001
KOMBI_ADMIN_PORT 8090
KOMBI_STACK_PORT 8080
KOMBI_SIM_PORT 8081
KOMBI_STACKKITS_PORT 8082
KOMBI_IDP_PORT 8095
KOMBI_POSTGRES_PORT 54329
KOMBI_REDIS_PORT 63799"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' red='' green='' yellow='' plain=''
fi

say() { printf '%s\n' "$*"; }
note() { printf '%s%s%s\n' "$yellow" "$*" "$plain"; }

# fail WHAT [WHAT-TO-DO]
fail() {
  printf '%sfailed:%s %s\n' "$red" "$plain" "$1" >&2
  [ -z "${2:-}" ] || printf 'what to do: %s\n' "$2" >&2
  exit 1
}

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
seconds_since() {
  local us=$(($(now_us) - $1))
  printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10))
}

show_log_end() {
  [ -s "$1" ] || return 0
  printf -- '--- the end of %s:\n' "$1" >&2
  tail -n "${2:-20}" "$1" >&2
  printf -- '---\n' >&2
}

# step LABEL ADVICE COMMAND...: runs it, its output to .local/log/up.log;
# tells the time it took, or the end of the log and the advice.
step() {
  local label=$1 advice=$2 log=$log_dir/up.log start code
  shift 2
  start=$(now_us)
  printf '  %-46s' "$label"
  : >"$log"
  set +e
  (set -e; "$@") >"$log" 2>&1 </dev/null 9>&-
  code=$?
  set -e
  if [ $code -ne 0 ]; then
    printf '%sfailed%s after %s\n' "$red" "$plain" "$(seconds_since "$start")"
    show_log_end "$log"
    fail "$label" "$advice"
  fi
  printf '%sok%s %s\n' "$green" "$plain" "$(seconds_since "$start")"
}

load_ports() {
  local name default saved
  while read -r name default; do
    [ -n "$name" ] || continue
    saved=$(sed -n "s/^$name=//p" "$local_dir/ports" 2>/dev/null || true)
    [ -n "${!name:-}" ] || printf -v "$name" '%s' "${saved:-$default}"
    [[ ${!name} =~ ^[0-9]+$ ]] && [ "${!name}" -ge 1 ] && [ "${!name}" -le 65535 ] ||
      fail "$name is '${!name}'" "set it to a port, 1 to 65535"
  done <<<"$port_table"
}

save_ports() {
  local name default
  while read -r name default; do
    [ -z "$name" ] || printf '%s=%s\n' "$name" "${!name}"
  done <<<"$port_table" >"$local_dir/ports.new"
  mv "$local_dir/ports.new" "$local_dir/ports"
}

make_folders() {
  mkdir -p "$local_dir" "$log_dir" "$run_dir" "$tools_dir"
  mkdir -p -m 700 "$secrets_dir"
  local_dir=$(cd "$local_dir" && pwd)
}

# One `up` or `down` at a time for each .local.
lock() {
  exec 9>"$local_dir/lock"
  flock -n 9 && return
  note "another deploy/local is at work here; waiting for it"
  flock -w 900 9 || fail "the other deploy/local does not end" "look for it with: ps aux | grep deploy/local"
}
