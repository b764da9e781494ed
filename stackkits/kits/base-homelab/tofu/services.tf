# What runs, as data. main.tf turns each row into an image, its volumes and a
# container.
locals {
  proxied = var.access_mode == "proxy"
  socket  = "/var/run/docker.sock"

  catalogue = {
    whoami = {
      enabled   = true
      image     = "traefik/whoami:v1.10"
      port      = 80
      host_port = var.whoami_port
      subdomain = "whoami"
      memory    = 64
      command   = []
      volumes   = {}
      socket    = "none"
    }
    dozzle = {
      enabled   = var.enable_dozzle
      image     = "amir20/dozzle:v8.11"
      port      = 8080
      host_port = var.dozzle_port
      subdomain = "dozzle"
      memory    = 128
      command   = []
      volumes   = {}
      socket    = "read"
    }
    uptime-kuma = {
      enabled   = var.enable_uptime_kuma
      image     = "louislam/uptime-kuma:1.23.16"
      port      = 3001
      host_port = var.uptime_kuma_port
      subdomain = "status"
      memory    = 256
      command   = []
      volumes   = { uptime-kuma = "/app/data" }
      socket    = "none"
    }
    portainer = {
      enabled   = var.enable_portainer
      image     = "portainer/portainer-ce:2.21.5"
      port      = 9000
      host_port = var.portainer_port
      subdomain = "portainer"
      memory    = 256
      command   = []
      volumes   = { portainer = "/data" }
      socket    = "write"
    }
    dockge = {
      enabled   = var.enable_dockge
      image     = "louislam/dockge:1"
      port      = 5001
      host_port = var.dockge_port
      subdomain = "dockge"
      memory    = 256
      command   = []
      volumes   = { dockge = "/app/data" }
      socket    = "write"
    }
    netdata = {
      enabled   = var.enable_netdata
      image     = "netdata/netdata:v2.2.6"
      port      = 19999
      host_port = var.netdata_port
      subdomain = "netdata"
      memory    = 512
      command   = []
      volumes   = { netdata-lib = "/var/lib/netdata", netdata-cache = "/var/cache/netdata" }
      socket    = "none"
    }
    beszel = {
      enabled   = var.enable_beszel
      image     = "henrygd/beszel:0.9.1"
      port      = 8090
      host_port = var.beszel_port
      subdomain = "beszel"
      memory    = 128
      command   = []
      volumes   = { beszel = "/beszel_data" }
      socket    = "none"
    }
  }

  services = { for name, s in local.catalogue : name => s if s.enabled }
  custom   = { for s in var.custom_services : s.name => s }

  # Volume name => the service it belongs to.
  volumes = merge(
    merge([for name, s in local.catalogue : { for v, _ in s.volumes : v => name }]...),
    merge([for name, s in local.custom : { for v in s.volumes : "${name}-${v.name}" => name if v.host_path == "" }]...),
  )

  traefik_command = concat(
    [
      "--providers.docker=true",
      "--providers.docker.exposedbydefault=false",
      "--providers.docker.network=${var.stack_name}",
      "--entrypoints.web.address=:80",
      "--entrypoints.web.http.redirections.entrypoint.to=websecure",
      "--entrypoints.web.http.redirections.entrypoint.scheme=https",
      "--entrypoints.websecure.address=:443",
      "--ping=true",
    ],
    var.cert_source == "acme" ? [
      "--certificatesresolvers.default.acme.email=${var.acme_email}",
      "--certificatesresolvers.default.acme.storage=/acme/acme.json",
      "--certificatesresolvers.default.acme.tlschallenge=true",
    ] : [],
  )
}
