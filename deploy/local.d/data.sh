# Secrets, and the private PostgreSQL and Redis under .local/.

# secret NAME: made once, 64 hexadecimal digits.
make_secret() {
  local file=$secrets_dir/$1
  [ -s "$file" ] && return
  (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$file.new" && mv "$file.new" "$file")
}

write_private() { (umask 077 && cat >"$1.new" && mv "$1.new" "$1"); }

make_secrets() {
  local name
  for name in service_secret postgres_password redis_password idp_service_secret idp_gateway_secret oidc_session_secret; do make_secret "$name"; done
  write_private "$secrets_dir/database_url" <<<"postgresql://kombi:$(<"$secrets_dir/postgres_password")@127.0.0.1:$KOMBI_POSTGRES_PORT/kombi_admin"
  write_private "$secrets_dir/pgpass" <<<"127.0.0.1:*:*:kombi:$(<"$secrets_dir/postgres_password")"
}

# ---- PostgreSQL: refuses root, so root hands it to the postgres user --------

postgres_bin() {
  local version
  version=$(cat "$local_dir/postgres/data/PG_VERSION" 2>/dev/null ||
    ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -1)
  if [ ! -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
    fail "PostgreSQL ${version:-(any)} is not installed" \
      "apt-get install postgresql-$version, or begin anew without the old data: rm -r $local_dir/postgres"
  fi
  printf '/usr/lib/postgresql/%s/bin' "$version"
}

# Sets as_postgres, the words before a command that make it postgres' own. A
# clone in a folder closed to others (/root) needs the right to pass through.
choose_postgres_user() {
  as_postgres=()
  [ "$(id -u)" -eq 0 ] || return 0
  local drop=(setpriv --reuid postgres --regid postgres --init-groups) capability
  for capability in none dac_read_search dac_override; do
    as_postgres=("${drop[@]}")
    [ $capability = none ] || as_postgres+=(--inh-caps "+$capability" --ambient-caps "+$capability")
    # stat, not test: access(2) leaves capabilities out of account.
    if "${as_postgres[@]}" stat "$local_dir/." >/dev/null 2>&1; then return; fi
  done
  fail "the user postgres may not enter $local_dir" "chmod o+x on the folders above it, or set KOMBI_LOCAL_DIR"
}

init_postgres() {
  local dir=$local_dir/postgres
  [ ! -f "$dir/initialised" ] || return 0
  rm -rf "$dir"
  mkdir -p -m 700 "$dir"
  write_private "$dir/password" <"$secrets_dir/postgres_password"
  [ "$(id -u)" -ne 0 ] || chown -R postgres:postgres "$dir"
  (cd / && "${as_postgres[@]}" "$(postgres_bin)/initdb" -D "$dir/data" -U kombi --pwfile="$dir/password" \
    -A scram-sha-256 --encoding=UTF8 --locale=C.UTF-8)
  rm -f "$dir/password"
  touch "$dir/initialised"
}

start_postgres() {
  local bin data=$local_dir/postgres/data
  bin=$(postgres_bin)
  ensure postgres "$(fingerprint_of "$bin/postgres" -- "$KOMBI_POSTGRES_PORT")" \
    env -i -C / LANG=C.UTF-8 PATH="$PATH" "${as_postgres[@]}" "$bin/postgres" -D "$data" \
    -c listen_addresses=127.0.0.1 -c port="$KOMBI_POSTGRES_PORT" -c unix_socket_directories= \
    -c log_min_messages=warning -c max_connections=200
}

private_psql() {
  PGPASSFILE=$secrets_dir/pgpass psql -qXAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$KOMBI_POSTGRES_PORT" -U kombi "$@"
}

postgres_ready() { private_psql -d postgres -c 'SELECT 1'; }

create_database() {
  [ -n "$(private_psql -d postgres -c "SELECT 1 FROM pg_database WHERE datname = 'kombi_admin'")" ] ||
    private_psql -d postgres -c 'CREATE DATABASE kombi_admin'
}

# ---- Redis --------------------------------------------------------------

# Debian's redis-server is redis-check-rdb by another name; taking it from
# redis-tools leaves out the package that starts a system-wide server.
redis_program() {
  command -v redis-server && return
  ln -sf "$(command -v redis-check-rdb)" "$tools_dir/redis-server"
  printf '%s' "$tools_dir/redis-server"
}

start_redis() {
  local dir=$local_dir/redis program
  program=$(redis_program)
  mkdir -p -m 700 "$dir"
  write_private "$dir/redis.conf" <<-EOF
	bind 127.0.0.1
	port $KOMBI_REDIS_PORT
	dir $dir
	requirepass $(<"$secrets_dir/redis_password")
	save ""
	appendonly no
	daemonize no
	EOF
  ensure redis "$(fingerprint_of "$program" "$dir/redis.conf" --)" \
    env -i PATH="$PATH" "$program" "$dir/redis.conf"
}

redis_ready() {
  [ "$(REDISCLI_AUTH=$(<"$secrets_dir/redis_password") redis-cli -h 127.0.0.1 -p "$KOMBI_REDIS_PORT" PING 2>/dev/null)" = PONG ]
}
