# The user's own services, from custom_services.
resource "docker_image" "custom" {
  for_each = local.custom

  name         = each.value.image
  keep_locally = true
}

resource "docker_container" "custom" {
  for_each = local.custom

  name          = "${var.stack_name}-${each.key}"
  image         = docker_image.custom[each.key].image_id
  restart       = each.value.restart
  env           = concat(["TZ=${var.timezone}"], [for k, v in each.value.environment : "${k}=${v}"])
  security_opts = ["no-new-privileges:true"]

  dynamic "ports" {
    for_each = [for p in each.value.ports : p if p.host != 0]
    content {
      internal = ports.value.container
      external = ports.value.host
      protocol = ports.value.protocol
    }
  }

  dynamic "volumes" {
    for_each = each.value.volumes
    content {
      volume_name    = volumes.value.host_path == "" ? docker_volume.data["${each.key}-${volumes.value.name}"].name : null
      host_path      = volumes.value.host_path == "" ? null : volumes.value.host_path
      container_path = volumes.value.mount_path
      read_only      = volumes.value.read_only
    }
  }

  networks_advanced {
    name    = docker_network.homelab.name
    aliases = [each.key]
  }

  dynamic "labels" {
    for_each = each.value.proxy_host == "" || length(each.value.ports) == 0 ? {} : merge({
      "traefik.enable"                                             = "true"
      "traefik.http.routers.${each.key}.rule"                      = "Host(`${each.value.proxy_host}`)"
      "traefik.http.routers.${each.key}.entrypoints"               = "websecure"
      "traefik.http.routers.${each.key}.tls"                       = "true"
      "traefik.http.services.${each.key}.loadbalancer.server.port" = tostring(each.value.ports[0].container)
      }, var.cert_source == "acme" ? {
      "traefik.http.routers.${each.key}.tls.certresolver" = "default"
    } : {})
    content {
      label = labels.key
      value = labels.value
    }
  }

  depends_on = [docker_container.traefik]
}
