output "urls" {
  description = "Where each service answers."
  value = {
    for name, s in local.services : name => (
      local.proxied
      ? "https://${s.subdomain}.${var.domain}"
      : "http://${local.address}:${s.host_port}"
    )
  }
}

output "container_names" {
  description = "Every container of the homelab."
  value = concat(
    [docker_container.traefik.name],
    [for c in docker_container.service : c.name],
    [for c in docker_container.custom : c.name],
  )
}

output "network_id" {
  description = "The homelab's Docker network."
  value       = docker_network.homelab.id
}

locals {
  # ssh://user@host:port → host; a local socket → localhost.
  address = try(regex("^ssh://[^@]+@([^:]+)", var.docker_host)[0], "localhost")
}
