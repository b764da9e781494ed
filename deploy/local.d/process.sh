# Processes that stay: started detached, remembered by pid and start time,
# stopped only when they are really ours.

# The start time in clock ticks tells a process from a later one of that pid.
start_time() { sed -n 's/^.*) [^Z] //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f19; }

# Sets pid and fingerprint of NAME; false when it does not run.
read_process() {
  local since
  pid='' fingerprint=''
  [ -f "$run_dir/$1.pid" ] || return 1
  read -r pid since fingerprint <"$run_dir/$1.pid" || return 1
  [ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ]
}

# fingerprint_of FILE... -- WORD...: changes when a file or a setting does.
fingerprint_of() {
  {
    while [ $# -gt 0 ] && [ "$1" != -- ]; do cat "$1"; shift; done
    printf '%s\n' "$@"
  } | sha256sum | cut -c1-16
}

# spawn NAME FINGERPRINT COMMAND...: a session of its own, no terminal.
spawn() {
  local name=$1 fingerprint=$2 child
  shift 2
  printf '=== started %s\n' "$(date -u +%FT%TZ)" >>"$log_dir/$name.log"
  setsid "$@" </dev/null >>"$log_dir/$name.log" 2>&1 9>&- &
  child=$!
  disown "$child"
  printf '%s %s %s\n' "$child" "$(start_time "$child")" "$fingerprint" >"$run_dir/$name.pid"
}

# ensure NAME FINGERPRINT COMMAND...: keeps it, restarts it when it changed.
# Sets started[NAME] to what happened.
declare -A started=()
ensure() {
  local name=$1 wanted=$2 pid fingerprint
  if read_process "$name"; then
    if [ "$fingerprint" = "$wanted" ]; then
      started[$name]="already running"
      return
    fi
    stop "$name"
    started[$name]="restarted: it changed"
  else
    started[$name]="started"
  fi
  spawn "$@"
}

# wait_until SECONDS COMMAND...: polls; false when the time is over.
wait_until() {
  local deadline=$(($(now_us) + $1 * 1000000))
  shift
  until "$@"; do
    [ "$(now_us)" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

is_gone() { [ -z "$(start_time "$1")" ]; }

# stop NAME [SIGNAL]: 30 seconds to end, then KILL; its group goes with it.
stop() {
  local name=$1 signal=${2:-TERM} pid fingerprint
  if read_process "$name"; then
    kill -"$signal" "$pid" 2>/dev/null || true
    if ! wait_until 30 is_gone "$pid"; then
      note "$name did not end within 30 s of SIG$signal: killed"
    fi
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait_until 5 is_gone "$pid" || fail "$name (pid $pid) cannot be stopped" "as root: kill -9 $pid"
  fi
  rm -f "$run_dir/$name.pid"
}

# wait_ready NAME SECONDS COMMAND...: fails at once when the process ends.
wait_ready() {
  local name=$1 seconds=$2 start pid fingerprint
  shift 2
  start=$(now_us)
  printf '  %-46s' "waiting for $name (${started[$name]})"
  ready_or_dead() { "$@" >/dev/null 2>&1 || ! read_process "$name"; }
  if ! wait_until "$seconds" ready_or_dead "$@"; then
    printf '%sfailed%s\n' "$red" "$plain"
    show_log_end "$log_dir/$name.log"
    fail "$name is not ready after $seconds s" "read the lines above; all of them: deploy/local logs $name"
  fi
  if ! read_process "$name"; then
    printf '%sfailed%s\n' "$red" "$plain"
    show_log_end "$log_dir/$name.log"
    fail "$name ended while starting" "read the lines above; all of them: deploy/local logs $name"
  fi
  printf '%sready%s %s\n' "$green" "$plain" "$(seconds_since "$start")"
}

# ---- ports --------------------------------------------------------------

listening_inode() {
  local hex
  hex=$(printf '%04X' "$1")
  awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Who listens on PORT, as far as we may know: "nginx (pid 12)".
port_owner() {
  local inode=$1 fd owner
  fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -1) || true
  [ -n "$fd" ] || { printf 'a process of another user'; return; }
  owner=${fd#/proc/}
  owner=${owner%%/*}
  printf '%s (pid %s)' "$(cat "/proc/$owner/comm" 2>/dev/null)" "$owner"
}

# need_port NAME VARIABLE: free, or held by our own running NAME.
need_port() {
  local name=$1 variable=$2 inode pid fingerprint
  inode=$(listening_inode "${!variable}")
  [ -n "$inode" ] || return 0
  if read_process "$name" && [ -f "$local_dir/ports" ] && grep -qx "$variable=${!variable}" "$local_dir/ports"; then
    return 0
  fi
  fail "port ${!variable} for $name is taken by $(port_owner "$inode")" \
    "stop that process, or choose another port: $variable=$((${!variable} + 1000)) deploy/local up"
}
