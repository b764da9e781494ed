# What deploy/local can be told: one function a command.

usage() {
  cat <<-EOF
	usage: deploy/local COMMAND

	  up [--no-build]     install what is missing, build, start everything, wait until it is ready
	  status              what runs, where, and how it is (exit code 3 unless all is healthy)
	  logs [SERVICE] [-f] the last lines of all logs or of one; -f follows
	  demo                the main job as a person would do it, every answer checked
	  token [--user NAME] [--org ORG] [--plan free|pro|enterprise]
	                      a bearer token of the development identity provider
	  doctor              looks for what is wrong with this machine or this set-up
	  down                stop everything; data stays in .local/

	Settings, from the environment; a port is remembered until another is given:
	$(awk 'NF { printf "  %-28s %s\n", $1, $2 }' <<<"$port_table")
	  KOMBI_LOCAL_DIR              .local    where data, logs and secrets are
	  KOMBI_BIN_DIR                          use these programs and do not build
	  KOMBI_LOG_LEVEL              info

	To begin anew: deploy/local down && rm -r .local
	EOF
}

command_up() {
  local build=true start
  [ "${1:-}" != --no-build ] || build=false
  start=$(now_us)
  make_folders
  lock
  say "${bold}kombify$plain in $local_dir"
  install_packages runtime build
  if $build; then build_all; else need_binaries; fi
  get_tools
  make_secrets
  check_ports
  save_ports
  start_data
  start_platform
  show_table || fail "not all services are healthy" "deploy/local logs SERVICE"
  say "up after $(seconds_since "$start"). Next: deploy/local demo | token | logs | down"
}

command_status() { show_table || exit 3; }

command_logs() {
  local name='' follow=() arg files
  for arg; do
    case $arg in
      -f | --follow) follow=(-F) ;;
      *) name=$arg ;;
    esac
  done
  if [ -n "$name" ]; then
    [ -f "$log_dir/$name.log" ] ||
      fail "there is no log of '$name'" "one of: $(cd "$log_dir" 2>/dev/null && ls -- *.log 2>/dev/null | sed 's/\.log$//' | tr '\n' ' ')"
    exec tail -n 100 "${follow[@]}" "$log_dir/$name.log"
  fi
  files=("$log_dir"/*.log)
  [ -e "${files[0]}" ] || fail "there are no logs yet" "deploy/local up"
  exec tail -n 15 "${follow[@]}" "${files[@]}"
}

command_down() {
  local name pid fingerprint any=false
  [ -d "$run_dir" ] || { say "nothing runs"; return; }
  make_folders
  lock
  for name in gateway stack sim stackkits admin idp redis postgres; do
    read_process "$name" && any=true
    # SIGINT is PostgreSQL's "fast": it does not wait for its clients.
    if [ "$name" = postgres ]; then stop postgres INT; else stop "$name"; fi
  done
  if $any; then say "stopped; the data stays in $local_dir"; else say "nothing runs"; fi
}

need_running() {
  local pid fingerprint name
  for name; do
    read_process "$name" || fail "$name does not run" "deploy/local up"
  done
}

command_token() {
  local user='' org='' plan='' body answer
  while [ $# -gt 0 ]; do
    [[ $1 =~ ^--(user|org|plan)$ && ${2:-} =~ ^[A-Za-z0-9@._-]+$ ]] ||
      fail "'$1 ${2:-}' is not understood" "deploy/local token [--user NAME] [--org ORG] [--plan free|pro|enterprise]"
    printf -v "${1#--}" '%s' "$2"
    shift 2
  done
  need_running idp
  body=$(printf '{"user":"%s","org":"%s","plan":"%s"}' "$user" "$org" "$plan" |
    sed 's/"[a-z]*":"",\{0,1\}//g; s/,}/}/')
  answer=$(curl -sS -m 10 -H 'Content-Type: application/json' -d "$body" "$(issuer)/dev/token")
  sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' <<<"$answer" | grep . ||
    fail "$(sed -n 's/.*"error_description":"\([^"]*\)".*/\1/p' <<<"$answer")" "who there is: curl $(issuer)/dev/users"
}

command_demo() {
  need_running idp gateway
  command -v python3 >/dev/null || install_packages runtime
  exec env KOMBI_URL="http://127.0.0.1:$KOMBI_GATEWAY_PORT" ZITADEL_ISSUER="$(issuer)" ZITADEL_CLIENT_ID=$dev_client \
    CUE_BIN="$tools_dir/cue" PYTHONDONTWRITEBYTECODE=1 python3 "$root/tests/e2e/main_job.py" "$@"
}

# finding OK-OR-NOT TEXT ADVICE
finding() {
  if [ "$1" = ok ]; then printf '  %sok%s    %s\n' "$green" "$plain" "$2"; return; fi
  printf '  %s%s%s %s\n        %s\n' "$yellow" "$1" "$plain" "$2" "$3"
  findings=$((findings + 1))
}

check_tools() {
  local missing tool
  mapfile -t missing < <(missing_packages runtime build)
  if [ ${#missing[@]} -eq 0 ]; then finding ok "all Debian packages are there"
  else finding look "missing packages: ${missing[*]}" "deploy/local up installs them"; fi
  for tool in node npm cmake cc; do
    command -v "$tool" >/dev/null && finding ok "$tool: $("$tool" --version 2>/dev/null | head -1)"
  done
  if [ -x "$tools_dir/cue" ]; then finding ok "cue: $("$tools_dir/cue" version | sed -n 's/^CUE language /language /p;s/^cue.lang.version */language version /p')"
  else finding look "the cue command is not there yet" "deploy/local up gets it"; fi
}

check_machine() {
  local free_mb memory_mb
  free_mb=$(df -Pm "$root" | awk 'NR == 2 { print $4 }')
  if [ "$free_mb" -ge 2000 ]; then finding ok "$free_mb MB free on the disk"
  else finding look "only $free_mb MB free on the disk" "building and running needs about 2000 MB"; fi
  memory_mb=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  if [ "$memory_mb" -ge 1000 ]; then finding ok "$memory_mb MB of memory available"
  else finding look "only $memory_mb MB of memory available" "about 1000 MB are needed"; fi
}

check_running() {
  local name variable inode pid fingerprint health file
  while read -r name variable; do
    [ -n "$name" ] || continue
    if read_process "$name"; then
      health=$(health_of "$name")
      if [ "$health" = healthy ]; then finding ok "$name is healthy"
      else finding look "$name is $health" "deploy/local logs $name"; fi
    else
      inode=$(listening_inode "${!variable}")
      [ -z "$inode" ] || finding look "port ${!variable} of $name is taken by $(port_owner "$inode")" \
        "stop it, or: $variable=$((${!variable} + 1000)) deploy/local up"
    fi
  done <<<"$process_table"
  for file in "$secrets_dir"/*; do
    [ -e "$file" ] || continue
    [ "$(stat -c %a "$file")" = 600 ] || finding look "$file can be read by others" "chmod 600 $file"
  done
}

command_doctor() {
  local findings=0
  check_machine
  check_tools
  check_running
  [ "$findings" -gt 0 ] || { say "nothing to complain about"; return; }
  say "$findings to look at"
  exit 3
}
