# The parts. A part that is not there is skipped by name, never in silence.

part_lint() {
  [ -x tests/lint/run ] || { skip lint "tests/lint/run is not there"; return; }
  if $quick; then run_counted lint tests/lint/run --quick; else run_counted lint tests/lint/run; fi
}

part_unit() {
  compgen -G 'tests/unit/*_test.c' >/dev/null || compgen -G 'tests/unit/*/*_test.c' >/dev/null ||
    { skip unit "there is no tests/unit/*_test.c"; return; }
  build asan || { skip unit "the asan preset does not build"; return; }
  ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0} run_counted "unit (ASan, UBSan)" tests/run.d/ctest
}

# ---- captive HTTP tests: tests/http/SERVICE[_WHAT].sh or .py ----------------
# Run by tests/support/captive inside `SERVICE --run`, with KOMBI_URL set; a
# name that begins with no service's runs as it is.

service_of() {
  local name service
  name=$(basename "$1")
  name=${name%%.*}
  for service in "${services[@]}"; do
    [ "${name%%_*}" != "$service" ] || { printf '%s' "$service"; return; }
  done
}

interpreter_of() { case $1 in *.py) printf python3 ;; *) printf bash ;; esac; }

part_http() {
  local file service name found=false
  for file in tests/http/*.sh tests/http/*.py; do
    [ -f "$file" ] || continue
    $found || { need_tools && build release; } || { skip http "the release preset does not build"; return; }
    found=true
    name="http $(basename "$file")"
    if $quick && grep -q '^# not-quick:' "$file"; then
      skip "$name" "$(sed -n 's/^# not-quick: //p' "$file"), so not with --quick"
      continue
    fi
    service=$(service_of "$file")
    if [ -z "$service" ]; then run_counted "$name" "$(interpreter_of "$file")" "$file"
    elif ! has_program "$service"; then skip "$name" "the service $service is not built"
    elif [ "$service" = admin ]; then
      run_counted "$name" tests/support/with-postgres tests/support/captive admin "$root/$file"
    else run_counted "$name" tests/support/captive "$service" "$root/$file"; fi
  done
  $found || skip http "there is no tests/http/*.sh or *.py"
}

part_attacks() {
  [ -x tests/attacks/run ] || { skip attacks "tests/attacks/run is not there"; return; }
  build release || { skip attacks "the release preset does not build"; return; }
  run_counted attacks tests/attacks/run
}

part_e2e() {
  local service
  build release || { skip e2e "the release preset does not build"; return; }
  for service in "${services[@]}"; do
    has_program "$service" || { skip e2e "the service $service is not in this tree"; return; }
  done
  run_counted e2e tests/e2e/run
  run_counted "e2e crash" tests/support/with-postgres tests/e2e/crash.py
  run_counted "e2e power loss" tests/e2e/power_loss.py
}

# ---- differential: the HTTP parser beside two others -------------------------

part_differential() {
  build release || { skip differential "the release preset does not build"; return; }
  command -v node >/dev/null || { skip differential "node is not installed"; return; }
  # The same streams each time; new ones are for who looks for differences.
  run_counted differential tests/differential/run --seed "${KOMBI_DIFFERENTIAL_SEED:-1}" \
    --seconds "${KOMBI_DIFFERENTIAL_SECONDS:-10}"
  run_counted "differential pocketbase" tests/support/captive stack "$root/tests/differential/pocketbase/run.py"
}

# ---- bench: that it works; how fast things are is not judged here ------------

part_bench() {
  build release || { skip bench "the release preset does not build"; return; }
  run_counted "bench (smoke)" tests/bench/gateway --smoke
  run_counted "bench stack (smoke)" timeout 120 tests/bench/stack --smoke
}

# ---- fuzz: a few seconds a target --------------------------------------------

fuzz_one() {
  local name=$1 corpus=tests/fuzz/corpus/${1#fuzz_} made
  made=$(mktemp -d)
  [ -d "$corpus" ] || corpus=
  "build/fuzz/bin/$name" -seed="${KOMBI_FUZZ_SEED:-1}" -max_total_time="${KOMBI_FUZZ_SECONDS:-5}" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$logs/$name-" "$made" ${corpus:+"$corpus"}
  rm -rf "$made"
}

part_fuzz() {
  local source
  compgen -G 'tests/fuzz/fuzz_*.c' >/dev/null || { skip fuzz "there is no tests/fuzz/fuzz_*.c"; return; }
  command -v clang >/dev/null || { skip fuzz "clang is not installed"; return; }
  build fuzz || { skip fuzz "the fuzz preset does not build"; return; }
  for source in tests/fuzz/fuzz_*.c; do
    run_counted "fuzz $(basename "$source" .c)" fuzz_one "$(basename "$source" .c)"
  done
}
