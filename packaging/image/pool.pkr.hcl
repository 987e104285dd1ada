# An image for the pool: a stock image with dsvm-agent in it. README.md beside this file says how it is used.

packer {
  required_plugins {
    azure = {
      source  = "github.com/hashicorp/azure"
      version = "~> 2.0"
    }
  }
}

variable "package" {
  type        = string
  description = "The package, for example dist/dsvm-agent_0.1.0_amd64.deb."
}

variable "subscription_id" {
  type = string
}

variable "resource_group" {
  type        = string
  description = "The one that the gallery is in."
}

variable "gallery" {
  type        = string
  description = "An Azure Compute Gallery. Whoever may read the image has what is in it: keep it private."
}

variable "image_name" {
  type        = string
  description = "An image definition of the gallery: Linux, generalized, of the base image's generation."
}

variable "image_version" {
  type        = string
  description = "For example 1.0.3. A version that exists is not written over."
}

variable "location" {
  type    = string
  default = "westeurope"
}

variable "vm_size" {
  type    = string
  default = "Standard_D2s_v5"
}

# What the image is made of: az vm image list --publisher microsoft-dsvm --all --output table
variable "base_publisher" {
  type    = string
  default = "microsoft-dsvm"
}

variable "base_offer" {
  type    = string
  default = "ubuntu-2204"
}

variable "base_sku" {
  type    = string
  default = "2204-gen2"
}

# "smb", "nfs", or "" for an image that must do for both.
variable "share" {
  type    = string
  default = ""
}

# More that goes into the image, run as root before it is sealed: accounts, the pool's SSH host key (README.md).
variable "recipe" {
  type    = list(string)
  default = []
}

source "azure-arm" "pool" {
  # Whoever is signed in: no secret in this file, nor in its variables.
  use_azure_cli_auth = true
  subscription_id    = var.subscription_id

  os_type         = "Linux"
  image_publisher = var.base_publisher
  image_offer     = var.base_offer
  image_sku       = var.base_sku
  location        = var.location
  vm_size         = var.vm_size

  shared_image_gallery_destination {
    subscription        = var.subscription_id
    resource_group      = var.resource_group
    gallery_name        = var.gallery
    image_name          = var.image_name
    image_version       = var.image_version
    replication_regions = [var.location]
  }
}

build {
  sources = ["source.azure-arm.pool"]

  provisioner "file" {
    source      = var.package
    destination = "/tmp/dsvm-agent.deb"
  }

  provisioner "file" {
    source      = "${path.root}/install"
    destination = "/tmp/dsvm-agent-install"
  }

  provisioner "shell" {
    inline = [
      "cloud-init status --wait",
      "sudo sh /tmp/dsvm-agent-install ${var.share == "" ? "" : "--for ${var.share}"} /tmp/dsvm-agent.deb",
      "rm /tmp/dsvm-agent.deb /tmp/dsvm-agent-install",
    ]
  }

  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = concat(["set -eu"], var.recipe)
  }

  # The first removes the account that Packer works as, so both are one command of root's. The second fails the build if
  # anything is left that must not be in an image.
  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E sh '{{ .Path }}'"
    inline          = ["waagent -force -deprovision+user && /usr/lib/dsvm-agent/seal"]
    skip_clean      = true
  }
}
