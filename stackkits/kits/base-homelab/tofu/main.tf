resource "docker_network" "homelab" {
  name   = var.stack_name
  driver = "bridge"

  ipam_config {
    subnet = var.subnet
  }
}

# The kit's volumes exist whether or not their service is switched on, so that
# switching a service off and on again keeps what people stored.
resource "docker_volume" "data" {
  for_each = local.volumes

  name = "${var.stack_name}-${each.key}"
}

resource "docker_volume" "acme" {
  name = "${var.stack_name}-acme"
}

resource "docker_image" "traefik" {
  name         = "traefik:v3.3"
  keep_locally = true
}

resource "docker_container" "traefik" {
  name          = "${var.stack_name}-traefik"
  image         = docker_image.traefik.image_id
  restart       = "unless-stopped"
  memory        = 128
  command       = local.traefik_command
  env           = ["TZ=${var.timezone}"]
  security_opts = ["no-new-privileges:true"]

  ports {
    internal = 80
    external = 80
  }

  ports {
    internal = 443
    external = 443
  }

  volumes {
    host_path      = local.socket
    container_path = local.socket
    read_only      = true
  }

  volumes {
    volume_name    = docker_volume.acme.name
    container_path = "/acme"
  }

  networks_advanced {
    name    = docker_network.homelab.name
    aliases = ["traefik"]
  }

  healthcheck {
    test     = ["CMD", "traefik", "healthcheck", "--ping"]
    interval = "30s"
    timeout  = "10s"
    retries  = 3
  }
}

resource "docker_image" "service" {
  for_each = local.services

  name         = each.value.image
  keep_locally = true
}

resource "docker_container" "service" {
  for_each = local.services

  name          = "${var.stack_name}-${each.key}"
  image         = docker_image.service[each.key].image_id
  restart       = "unless-stopped"
  memory        = each.value.memory
  command       = each.value.command
  env           = ["TZ=${var.timezone}"]
  security_opts = ["no-new-privileges:true"]

  # Behind the proxy a service has no host port of its own.
  dynamic "ports" {
    for_each = local.proxied ? [] : [each.value.host_port]
    content {
      internal = each.value.port
      external = ports.value
    }
  }

  dynamic "volumes" {
    for_each = each.value.volumes
    content {
      volume_name    = docker_volume.data[volumes.key].name
      container_path = volumes.value
    }
  }

  dynamic "volumes" {
    for_each = each.value.socket == "none" ? [] : [local.socket]
    content {
      host_path      = volumes.value
      container_path = volumes.value
      read_only      = each.value.socket == "read"
    }
  }

  networks_advanced {
    name    = docker_network.homelab.name
    aliases = [each.key]
  }

  dynamic "labels" {
    for_each = local.proxied ? merge({
      "traefik.enable"                                             = "true"
      "traefik.http.routers.${each.key}.rule"                      = "Host(`${each.value.subdomain}.${var.domain}`)"
      "traefik.http.routers.${each.key}.entrypoints"               = "websecure"
      "traefik.http.routers.${each.key}.tls"                       = "true"
      "traefik.http.services.${each.key}.loadbalancer.server.port" = tostring(each.value.port)
      }, var.cert_source == "acme" ? {
      "traefik.http.routers.${each.key}.tls.certresolver" = "default"
    } : {}) : {}
    content {
      label = labels.key
      value = labels.value
    }
  }

  depends_on = [docker_container.traefik]
}
