# Building the services, the identity provider's packages, the cue command.

services=(gateway admin stack sim stackkits)

compile() {
  local targets=("${services[@]}")
  [ ! -f "$root/stackkits/cli/main.c" ] || targets+=(stackkits-cli)
  cd "$root"
  cmake --preset release
  cmake --build build/release -j "$(nproc)" --target "${targets[@]}"
}

need_sources() {
  local name
  for name in "${services[@]}"; do
    [ -f "$root/$name/main.c" ] ||
      fail "the service '$name' is not in this tree: $name/main.c is missing" "git pull; or choose a complete commit"
  done
}

need_binaries() {
  local name
  for name in "${services[@]}"; do
    [ -x "$bin_dir/$name" ] || fail "the program '$name' was not built: $bin_dir/$name is missing" \
      "cmake --preset release && cmake --build build/release --target $name"
  done
}

idp_packages_are_current() {
  [ -f "$1/node_modules/.package-lock.json" ] && [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ]
}

install_idp_packages() {
  cd "$root/deploy/dev-idp"
  npm ci --omit=dev --no-audit --no-fund
  touch node_modules/.package-lock.json
}

get_tools() {
  idp_packages_are_current "$root/deploy/dev-idp" ||
    step "fetching the identity provider's packages" "is the npm registry reachable? try: cd deploy/dev-idp && npm ci" install_idp_packages
  [ -x "$tools_dir/cue" ] ||
    step "getting the cue command (about a minute)" "see deploy/tools/get-cue --help for the ways to get it" \
      "$root/deploy/tools/get-cue" "$tools_dir"
}

build_all() {
  local problem="read the compiler's lines above; a clean start: rm -r build/release"
  if [ -n "${KOMBI_BIN_DIR:-}" ]; then
    note "  using the programs in $bin_dir (KOMBI_BIN_DIR)"
  else
    need_sources
    step "building the services (release)" "$problem" compile
  fi
  need_binaries
}
