# Installing Debian packages that are missing: deploy/packages.txt says which.

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# missing_packages GROUP...
missing_packages() {
  local group package command
  while read -r group package command; do
    [[ " $* " == *" $group "* ]] || continue
    if [ -n "$command" ] && command -v "$command" >/dev/null; then continue; fi
    is_installed "$package" || printf '%s\n' "$package"
  done < <(grep -v '^#' "$root/deploy/packages.txt")
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@"
}

# The package makes and starts a cluster of its own; we use a private one.
drop_fresh_clusters() {
  local version
  for version in $(cd /etc/postgresql && ls -d -- */main | cut -d/ -f1); do
    if [[ " $1 " != *" $version "* ]]; then as_root pg_dropcluster --stop "$version" main; fi
  done
}

install_with_postgresql() {
  local before
  before=$(ls /etc/postgresql 2>/dev/null | tr '\n' ' ' || true)
  apt_install "$@"
  drop_fresh_clusters "$before"
}

# install_packages GROUP...: nothing is asked of apt when all is there.
install_packages() {
  local missing installer=apt_install
  command -v dpkg-query >/dev/null || fail "this is not a Debian machine" "use Debian 12 or later, or a container of it"
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "packages are missing and neither root nor sudo is at hand: ${missing[*]}" \
      "as root: apt-get update && apt-get install -y ${missing[*]}"
  fi
  # Ask for the password here; inside the step nobody could answer.
  [ "$(id -u)" -eq 0 ] || sudo -v || fail "sudo refused" "as root: apt-get install -y ${missing[*]}"
  [[ " ${missing[*]} " != *" postgresql "* ]] || installer=install_with_postgresql
  step "installing ${#missing[@]} Debian packages" \
    "read the lines above; then by hand: apt-get update && apt-get install ${missing[*]}" \
    "$installer" "${missing[@]}"
}
