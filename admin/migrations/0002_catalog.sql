-- Tools that a homelab may run, by category, and how they were judged.

CREATE TYPE tool_status AS ENUM ('draft', 'experimental', 'official', 'deprecated');

CREATE TABLE categories (
  id text PRIMARY KEY,
  slug text NOT NULL UNIQUE,
  name text NOT NULL UNIQUE,
  parent_id text REFERENCES categories (id),
  position integer NOT NULL DEFAULT 0
);

CREATE TABLE tools (
  id text PRIMARY KEY,
  name text NOT NULL UNIQUE,
  slug text NOT NULL UNIQUE,
  description text NOT NULL DEFAULT '',
  github_url text,
  docker_image text,
  website text,
  category_id text NOT NULL REFERENCES categories (id),
  subcategory_id text REFERENCES categories (id),
  tags text[] NOT NULL DEFAULT '{}',
  status tool_status NOT NULL DEFAULT 'draft',
  rating integer CHECK (rating BETWEEN 1 AND 5),
  pros text[] NOT NULL DEFAULT '{}',
  cons text[] NOT NULL DEFAULT '{}',
  last_version_check timestamptz,
  latest_version text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tools_category ON tools (category_id, name);

CREATE TABLE tool_versions (
  id text PRIMARY KEY,
  tool_id text NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
  version text NOT NULL,
  released_at timestamptz,
  UNIQUE (tool_id, version)
);

INSERT INTO categories (id, slug, name, parent_id, position) VALUES
  ('cat_network', 'network', 'Network', NULL, 1),
  ('cat_storage', 'storage', 'Storage', NULL, 2),
  ('cat_auth', 'auth', 'Authentication', NULL, 3),
  ('cat_orchestration', 'orchestration', 'Orchestration', NULL, 4),
  ('cat_monitoring', 'monitoring', 'Monitoring', NULL, 5),
  ('cat_media', 'media', 'Media', NULL, 6),
  ('cat_ai', 'ai', 'AI', NULL, 7);

INSERT INTO categories (id, slug, name, parent_id, position) VALUES
  ('cat_reverse_proxy', 'reverse-proxy', 'Reverse proxy', 'cat_network', 1),
  ('cat_dns', 'dns', 'DNS', 'cat_network', 2),
  ('cat_vpn', 'vpn', 'VPN', 'cat_network', 3),
  ('cat_tunneling', 'tunneling', 'Tunneling', 'cat_network', 4),
  ('cat_load_balancing', 'load-balancing', 'Load balancing', 'cat_network', 5),
  ('cat_nas', 'nas', 'NAS', 'cat_storage', 1),
  ('cat_distributed', 'distributed', 'Distributed storage', 'cat_storage', 2),
  ('cat_backup', 'backup', 'Backup', 'cat_storage', 3),
  ('cat_sso', 'sso', 'Single sign-on', 'cat_auth', 1),
  ('cat_simple_auth', 'simple-auth', 'Simple authentication', 'cat_auth', 2),
  ('cat_secrets', 'secrets', 'Secrets', 'cat_auth', 3),
  ('cat_docker', 'docker-management', 'Docker management', 'cat_orchestration', 1),
  ('cat_kubernetes', 'kubernetes', 'Kubernetes', 'cat_orchestration', 2),
  ('cat_metrics', 'metrics', 'Metrics', 'cat_monitoring', 1),
  ('cat_visualization', 'visualization', 'Visualization', 'cat_monitoring', 2),
  ('cat_logging', 'logging', 'Logging', 'cat_monitoring', 3),
  ('cat_media_server', 'media-server', 'Media server', 'cat_media', 1),
  ('cat_photos', 'photos', 'Photos', 'cat_media', 2),
  ('cat_llm_runtime', 'llm-runtime', 'LLM runtime', 'cat_ai', 1),
  ('cat_llm_ui', 'llm-ui', 'LLM user interface', 'cat_ai', 2);

INSERT INTO tools (id, name, slug, description, docker_image, website, category_id, subcategory_id, tags, status) VALUES
  ('tool_traefik', 'Traefik', 'traefik', 'Reverse proxy that finds services by their container labels and keeps their certificates.', 'traefik', 'https://traefik.io', 'cat_network', 'cat_reverse_proxy', '{proxy,tls}', 'official'),
  ('tool_caddy', 'Caddy', 'caddy', 'Web server and reverse proxy with automatic HTTPS.', 'caddy', 'https://caddyserver.com', 'cat_network', 'cat_reverse_proxy', '{proxy,tls}', 'official'),
  ('tool_adguard', 'AdGuard Home', 'adguard-home', 'DNS server of the house that blocks advertisements and trackers.', 'adguard/adguardhome', 'https://adguard.com/adguard-home/overview.html', 'cat_network', 'cat_dns', '{dns,blocking}', 'official'),
  ('tool_headscale', 'Headscale', 'headscale', 'Self-hosted control server for Tailscale clients.', 'headscale/headscale', 'https://headscale.net', 'cat_network', 'cat_vpn', '{vpn,wireguard}', 'official'),
  ('tool_restic', 'restic', 'restic', 'Encrypted, deduplicated backups to local or remote storage.', 'restic/restic', 'https://restic.net', 'cat_storage', 'cat_backup', '{backup}', 'official'),
  ('tool_authelia', 'Authelia', 'authelia', 'Sign-in portal with second factors for applications behind a proxy.', 'authelia/authelia', 'https://www.authelia.com', 'cat_auth', 'cat_simple_auth', '{sso,mfa}', 'official'),
  ('tool_vaultwarden', 'Vaultwarden', 'vaultwarden', 'Password manager server that Bitwarden clients speak to.', 'vaultwarden/server', 'https://github.com/dani-garcia/vaultwarden', 'cat_auth', 'cat_secrets', '{passwords}', 'official'),
  ('tool_portainer', 'Portainer', 'portainer', 'Web interface for containers, images, networks and volumes.', 'portainer/portainer-ce', 'https://www.portainer.io', 'cat_orchestration', 'cat_docker', '{docker}', 'official'),
  ('tool_prometheus', 'Prometheus', 'prometheus', 'Metrics collection and alerting.', 'prom/prometheus', 'https://prometheus.io', 'cat_monitoring', 'cat_metrics', '{metrics,alerts}', 'official'),
  ('tool_grafana', 'Grafana', 'grafana', 'Dashboards over metrics and logs.', 'grafana/grafana', 'https://grafana.com', 'cat_monitoring', 'cat_visualization', '{dashboards}', 'official'),
  ('tool_uptime_kuma', 'Uptime Kuma', 'uptime-kuma', 'Watches whether services answer, and tells when they do not.', 'louislam/uptime-kuma', 'https://uptime.kuma.pet', 'cat_monitoring', 'cat_metrics', '{uptime,alerts}', 'official'),
  ('tool_jellyfin', 'Jellyfin', 'jellyfin', 'Media server for films, series and music.', 'jellyfin/jellyfin', 'https://jellyfin.org', 'cat_media', 'cat_media_server', '{media}', 'official'),
  ('tool_immich', 'Immich', 'immich', 'Photo and video backup with search, from the phone.', 'ghcr.io/immich-app/immich-server', 'https://immich.app', 'cat_media', 'cat_photos', '{photos}', 'official'),
  ('tool_ollama', 'Ollama', 'ollama', 'Runs language models on your own hardware.', 'ollama/ollama', 'https://ollama.com', 'cat_ai', 'cat_llm_runtime', '{llm}', 'experimental');
