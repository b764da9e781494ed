# Counting and telling. Every part adds to passed, failed, skipped.

logs=$root/build/test-logs
passed=0 failed=0 skipped=0
skips=() failures=()

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' red='' green='' yellow='' plain=''
fi

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
seconds_since() {
  local us=$(($(now_us) - $1))
  printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10))
}

begin_line() { printf '%-42s' "$1"; line_start=$(now_us); }
end_line() { printf '%s%s%s %s\n' "$1" "$2" "$plain" "$(seconds_since "$line_start")"; }

# skip NAME REASON
skip() {
  skipped=$((skipped + 1))
  skips+=("$1: $2")
  printf '%-42s%sskipped%s: %s\n' "$1" "$yellow" "$plain" "$2"
}

# counts_of LOG: "P F S" of its closing line "P passed, F failed[, S skipped]".
counts_of() {
  sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$1" | tail -1
}

# count NAME LOG CODE: adds the log's own counts; a program without counts is
# one test. A bad exit code without a failed count is a failure all the same.
count() {
  local name=$1 log=$2 code=$3 p f s
  read -r p f s <<<"$(counts_of "$log")" || true
  s=${s:-0}
  if [ -z "${p:-}" ]; then
    p=0 f=0 s=0
    case $code in 0) p=1 ;; 77) s=1 ;; *) f=1 ;; esac
  elif [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
    f=1
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  [ "$s" -eq 0 ] || skips+=("$name: $s, named in ${log#"$root"/}")
  if [ "$f" -ne 0 ]; then
    end_line "$red" "$f FAILED, $p passed"
    failures+=("$name: ${log#"$root"/}")
    tail -n 60 "$log" | sed 's/^/    /'
  else
    end_line "$green" "$p passed$([ "$s" -eq 0 ] || printf ', %s skipped' "$s")"
  fi
}

# run_counted NAME COMMAND...: one line on the screen, the rest in its log.
run_counted() {
  local name=$1 log=$logs/${1//[^a-zA-Z0-9_.-]/-}.log code=0
  shift
  begin_line "$name"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  count "$name" "$log" "$code"
}

close_report() {
  local line
  printf '\n'
  for line in "${failures[@]:-}"; do [ -z "$line" ] || printf '%sfailed%s  %s\n' "$red" "$plain" "$line"; done
  for line in "${skips[@]:-}"; do [ -z "$line" ] || printf '%sskipped%s %s\n' "$yellow" "$plain" "$line"; done
  printf 'all parts took %s\n' "$(seconds_since "$begin")"
  printf '%s%d passed, %d failed, %d skipped%s\n' "$bold" "$passed" "$failed" "$skipped" "$plain"
  [ "$failed" -eq 0 ]
}
