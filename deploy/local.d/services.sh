# The platform's own processes: environment, start, readiness, addresses.

dev_audience=kombify
dev_client=kombify-dev
gateway_client=kombify-gateway
gateway_url() { printf 'http://127.0.0.1:%s' "$KOMBI_GATEWAY_PORT"; }
issuer() { printf 'http://127.0.0.1:%s' "$KOMBI_IDP_PORT"; }

# Everything that runs, in the order of starting: NAME PORT-VARIABLE.
process_table="
postgres KOMBI_POSTGRES_PORT
redis KOMBI_REDIS_PORT
idp KOMBI_IDP_PORT
admin KOMBI_ADMIN_PORT
stackkits KOMBI_STACKKITS_PORT
sim KOMBI_SIM_PORT
stack KOMBI_STACK_PORT
gateway KOMBI_GATEWAY_PORT"

# port_variable NAME
port_variable() { awk -v name="$1" '$1 == name { print $2 }' <<<"$process_table"; }

health_url() {
  local variable
  variable=$(port_variable "$1")
  printf 'http://127.0.0.1:%s%s' "${!variable}" "$2"
}

is_ready() {
  case $1 in
    postgres) postgres_ready ;;
    redis) redis_ready ;;
    gateway) curl -fsS -m 2 "$(health_url gateway /health)" && curl -fsS -m 2 "http://127.0.0.1:$KOMBI_GATEWAY_ADMIN_PORT/health" ;;
    *) curl -fsS -m 2 "$(health_url "$1" /ready)" ;;
  esac >/dev/null 2>&1
}

start_idp() {
  local folder=$root/deploy/dev-idp
  ensure idp "$(fingerprint_of "$folder"/*.mjs "$folder/users.json" "$folder/package-lock.json" -- "$(issuer)" "$(gateway_url)")" \
    env -i PATH="$PATH" LANG=C.UTF-8 PORT="$KOMBI_IDP_PORT" ZITADEL_ISSUER="$(issuer)" ZITADEL_CLIENT_ID=$dev_client \
    KOMBI_AUDIENCE=$dev_audience KOMBI_IDP_DATA_DIR="$local_dir/idp" \
    KOMBI_IDP_SERVICE_SECRET_FILE="$secrets_dir/idp_service_secret" \
    KOMBI_IDP_GATEWAY_URL="$(gateway_url)" KOMBI_IDP_GATEWAY_CLIENT_ID=$gateway_client \
    KOMBI_IDP_GATEWAY_SECRET_FILE="$secrets_dir/idp_gateway_secret" \
    node --import "$folder/node18/install.mjs" "$folder/server.mjs"
}

# What every service is told. Services refuse KOMBI_* names that they do not
# know, so each gets its own and no more.
common_environment() {
  printf '%s\n' PATH="$PATH" LANG=C.UTF-8 TZ=UTC \
    KOMBI_ENVIRONMENT=development KOMBIFY_DEPLOYMENT_MODE=saas-shared KOMBI_LISTEN=127.0.0.1 \
    KOMBI_LOG_LEVEL="${KOMBI_LOG_LEVEL:-info}" KOMBI_SERVICE_SECRET_FILE="$secrets_dir/service_secret" \
    ADMIN_SERVICE_HOST=127.0.0.1 ADMIN_SERVICE_PORT="$KOMBI_ADMIN_PORT" \
    STACK_SERVICE_HOST=127.0.0.1 STACK_SERVICE_PORT="$KOMBI_STACK_PORT" \
    SIM_SERVICE_HOST=127.0.0.1 SIM_SERVICE_PORT="$KOMBI_SIM_PORT" \
    STACKKITS_SERVICE_HOST=127.0.0.1 STACKKITS_SERVICE_PORT="$KOMBI_STACKKITS_PORT"
}

# There is no portal yet: nothing listens on port 9, so its routes answer 503.
own_environment() {
  case $1 in
    gateway)
      printf '%s\n' PORT="$KOMBI_GATEWAY_PORT" KOMBI_ADMIN_LISTEN="127.0.0.1:$KOMBI_GATEWAY_ADMIN_PORT" \
        KONG_DECLARATIVE_CONFIG="$root/deploy/gateway/kong.yml" ZITADEL_ISSUER="$(issuer)" \
        KOMBI_AUDIENCE=$dev_audience ZITADEL_CLIENT_ID=$gateway_client \
        ZITADEL_CLIENT_SECRET_FILE="$secrets_dir/idp_gateway_secret" \
        OIDC_SESSION_SECRET_FILE="$secrets_dir/oidc_session_secret" \
        GATEWAY_PUBLIC_URL="$(gateway_url)" LOGOUT_REDIRECT_URL="$(gateway_url)/" \
        SPHERE_SERVICE_HOST=127.0.0.1 SPHERE_SERVICE_PORT=9 \
        REDIS_HOST=127.0.0.1 REDIS_PORT="$KOMBI_REDIS_PORT" REDIS_PASSWORD_FILE="$secrets_dir/redis_password"
      ;;
    admin) printf '%s\n' PORT="$KOMBI_ADMIN_PORT" DATABASE_URL_FILE="$secrets_dir/database_url" ;;
    stack) printf '%s\n' PORT="$KOMBI_STACK_PORT" KOMBI_DATA_DIR="$local_dir/stack" KOMBI_MAIL_DIR="$local_dir/mail" \
      KOMBI_TRUSTED_PROXIES=127.0.0.1 ;;
    sim) printf '%s\n' PORT="$KOMBI_SIM_PORT" KOMBI_DATA_DIR="$local_dir/sim" ;;
    stackkits) printf '%s\n' PORT="$KOMBI_STACKKITS_PORT" STACKKITS_DIR="$root/stackkits" CUE_BIN="$tools_dir/cue" ;;
  esac
}

# check_service NAME ENVIRONMENT...: a bad setting is told before the start.
check_service() {
  local name=$1 output
  shift
  output=$(env -i "$@" "$bin_dir/$name" --check-config 2>&1 </dev/null) && return
  printf '%s\n' "$output" >&2
  fail "$name refuses its settings" "correct them in deploy/local.d/services.sh; see: $bin_dir/$name --help"
}

start_service() {
  local name=$1 settings files
  mapfile -t settings < <(common_environment; own_environment "$name")
  check_service "$name" "${settings[@]}"
  files=("$bin_dir/$name")
  [ "$name" != gateway ] || files+=("$root/deploy/gateway/kong.yml")
  ensure "$name" "$(fingerprint_of "${files[@]}" -- "${settings[@]}")" env -i "${settings[@]}" "$bin_dir/$name"
}

check_ports() {
  local name variable
  while read -r name variable; do
    [ -z "$name" ] || need_port "$name" "$variable"
  done <<<"$process_table"
  need_port gateway KOMBI_GATEWAY_ADMIN_PORT
}

start_data() {
  choose_postgres_user
  [ -f "$local_dir/postgres/initialised" ] ||
    step "making the PostgreSQL cluster" "read the lines above; is there room on the disk? df -h $local_dir" init_postgres
  start_postgres
  start_redis
  start_idp
  wait_ready postgres 60 is_ready postgres
  wait_ready redis 10 is_ready redis
  wait_ready idp 30 is_ready idp
  create_database
}

start_platform() {
  local name
  mkdir -p -m 700 "$local_dir/stack" "$local_dir/mail" "$local_dir/sim"
  for name in admin stackkits sim stack gateway; do start_service "$name"; done
  for name in admin stackkits sim stack gateway; do wait_ready "$name" 30 is_ready "$name"; done
}

# health_of NAME: healthy, degraded, not ready, down.
health_of() {
  local pid fingerprint body
  read_process "$1" || { printf 'down'; return; }
  is_ready "$1" || { printf 'not ready'; return; }
  case $1 in
    postgres | redis) printf 'healthy' ;;
    *) body=$(curl -sS -m 2 "$(health_url "$1" /health)" 2>/dev/null || true)
      body=$(sed -n 's/.*"status":"\([a-z]*\)".*/\1/p' <<<"$body" | head -1)
      printf '%s' "${body:-not ready}" ;;
  esac
}

# Prints the table; false unless all are healthy.
show_table() {
  local name variable pid fingerprint health colour address all_healthy=true
  printf '\n%s%-11s %-28s %-8s %s%s\n' "$bold" service address pid health "$plain"
  while read -r name variable; do
    [ -n "$name" ] || continue
    read_process "$name" || pid=-
    health=$(health_of "$name")
    colour=$green
    [ "$health" = healthy ] || { all_healthy=false colour=$red; }
    address="http://127.0.0.1:${!variable}"
    case $name in postgres | redis) address=127.0.0.1:${!variable} ;; esac
    printf '%-11s %-28s %-8s %s%s%s\n' "$name" "$address" "$pid" "$colour" "$health" "$plain"
  done <<<"$process_table"
  printf '\n'
  $all_healthy
}
