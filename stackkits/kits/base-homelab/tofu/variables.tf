# The values come from terraform.tfvars.json, which is the kit's `tfvars`:
#   cue export -e tfvars -l input: . kombination.yaml > tofu/terraform.tfvars.json

variable "stack_name" {
  description = "Name of the homelab; prefix of every container, volume and network."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.stack_name))
    error_message = "The stack name must be 2 to 63 characters: a-z, 0-9 and dashes."
  }
}

variable "stack_kit" {
  description = "The StackKit that these files belong to."
  type        = string
  default     = "base-homelab"
}

variable "docker_host" {
  description = "Docker on the main node: a local socket or ssh://user@host:port."
  type        = string
  default     = "unix:///var/run/docker.sock"
}

variable "access_mode" {
  description = "ports: every service on its own host port; proxy: every service under the domain."
  type        = string
  default     = "ports"
  validation {
    condition     = contains(["ports", "proxy"], var.access_mode)
    error_message = "The access mode must be ports or proxy."
  }
}

variable "domain" {
  description = "Domain of the homelab; services answer at NAME.domain in proxy mode."
  type        = string
  default     = "local"
}

variable "timezone" {
  description = "Time zone of the containers."
  type        = string
  default     = "UTC"
}

variable "subnet" {
  description = "Private subnet of the homelab's Docker network."
  type        = string
  default     = "172.20.0.0/16"
  validation {
    condition     = can(cidrhost(var.subnet, 1))
    error_message = "The subnet must be a CIDR such as 172.20.0.0/16."
  }
}

variable "cert_source" {
  description = "Certificates: acme (Let's Encrypt), manual or selfsigned."
  type        = string
  default     = "selfsigned"
  validation {
    condition     = contains(["acme", "manual", "selfsigned"], var.cert_source)
    error_message = "The certificate source must be acme, manual or selfsigned."
  }
}

variable "acme_email" {
  description = "Where the certificate authority writes to; needed with acme."
  type        = string
  default     = ""
}

variable "enable_dozzle" {
  description = "Live logs of all containers."
  type        = bool
  default     = false
}

variable "enable_uptime_kuma" {
  description = "Watches addresses."
  type        = bool
  default     = false
}

variable "enable_portainer" {
  description = "Manages containers in the browser."
  type        = bool
  default     = false
}

variable "enable_dockge" {
  description = "Edits and runs compose files."
  type        = bool
  default     = false
}

variable "enable_netdata" {
  description = "Measures the node."
  type        = bool
  default     = false
}

variable "enable_beszel" {
  description = "A light hub for the load of several nodes."
  type        = bool
  default     = false
}

variable "whoami_port" {
  type    = number
  default = 9080
}

variable "dozzle_port" {
  type    = number
  default = 9999
}

variable "uptime_kuma_port" {
  type    = number
  default = 3001
}

variable "portainer_port" {
  type    = number
  default = 9000
}

variable "dockge_port" {
  type    = number
  default = 5001
}

variable "netdata_port" {
  type    = number
  default = 19999
}

variable "beszel_port" {
  type    = number
  default = 8190
}

variable "custom_services" {
  description = "The user's own services."
  type = list(object({
    name  = string
    image = string
    ports = optional(list(object({
      container = number
      host      = optional(number, 0)
      protocol  = optional(string, "tcp")
    })), [])
    environment = optional(map(string), {})
    volumes = optional(list(object({
      name       = string
      mount_path = string
      host_path  = optional(string, "")
      read_only  = optional(bool, false)
    })), [])
    proxy_host = optional(string, "")
    restart    = optional(string, "unless-stopped")
  }))
  default = []
}
