# Building: each preset at most once in a run; its outcome counts as a test.

services=(gateway admin stack sim stackkits)
declare -A built=()

compile_preset() {
  cmake --preset "$1"
  cmake --build "build/$1" -j "$(nproc)"
}

# build PRESET: false when it does not compile (told the first time).
build() {
  local before=$failed
  if [ -z "${built[$1]:-}" ]; then
    run_counted "build $1 (warnings are errors)" compile_preset "$1"
    built[$1]=$([ "$failed" -eq "$before" ] && echo yes || echo no)
  fi
  [ "${built[$1]}" = yes ]
}

has_program() { [ -x "build/release/bin/$1" ]; }

# The cue command, which validation by the real service needs.
need_tools() {
  [ -x .local/tools/cue ] || run_counted "get the cue command" deploy/tools/get-cue .local/tools
}
