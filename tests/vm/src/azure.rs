//! Guests that boot as a VM of a scale set does: cloud-init finds Azure by the asset tag of the chassis, reads the
//! provisioning medium, takes an address, asks instance metadata at 169.254.169.254, and says to the wire server that it
//! is there. The services are those of the simulator, which runs inside the guest.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::guest::Guest;
use crate::network::Network;
use crate::qemu::{Cloud, seed};
use crate::server::KEY;

/// Where Key Vault is for such a guest: without TLS, it may be on the machine itself only.
pub const VAULT: &str = "http://127.0.0.1:8169";

/// All addresses are the guest's own, so that whoever asks them reaches the simulator and nobody else can.
const UNIT: &str = "[Unit]
Description=A piece of Azure
DefaultDependencies=no
After=systemd-remount-fs.service
Before=cloud-init-local.service
[Service]
Type=exec
ExecStartPre=/usr/sbin/ip link set lo up
ExecStartPre=/usr/sbin/ip address replace 169.254.169.254/32 dev lo
ExecStartPre=/usr/sbin/ip address replace 168.63.129.16/32 dev lo
ExecStart=/usr/local/bin/azure --listen 169.254.169.254:80 --also 168.63.129.16:80 --also @VAULT@ --mac 525400000001 \
    --secret share-key=@KEY@
[Install]
WantedBy=sysinit.target
";

/// The image's own settings: where Resource Manager and Monitor are in this piece of Azure.
const ENDPOINTS: &str = "[scale_set.endpoints]
resource_manager = \"http://169.254.169.254\"
monitor = \"http://169.254.169.254\"
";

impl Guest {
    /// Lets the simulator, whose program is given, be Azure for this guest, from now on and at every boot.
    ///
    /// # Panics
    /// If there is no such program, or it does not start.
    #[track_caller]
    pub fn start_azure(&self, simulator: &Path) {
        let program = fs::read(simulator).unwrap_or_else(|error| panic!("{}: {error}", simulator.display()));
        self.put(program, "/usr/local/bin/azure", 0o755);
        let unit = UNIT.replace("@VAULT@", VAULT.trim_start_matches("http://")).replace("@KEY@", KEY);
        self.put(unit, "/etc/systemd/system/azure.service", 0o644);
        self.put(ENDPOINTS, "/etc/dsvm-agent/agent.d/10-endpoints.toml", 0o644);
        self.sh("systemctl enable --now --quiet azure.service");
    }

    /// Puts what listens at `here`, a port of this machine's loopback, behind 169.254.169.254:80 and 127.0.0.1:`port` in the
    /// guest: Azure's metadata, and its other services, as the simulator has them. It lasts until the guest is off.
    ///
    /// # Panics
    /// If it cannot be reached.
    #[track_caller]
    pub fn put_into_azure(&self, here: u16, port: u16) {
        self.forward(port, here);
        self.sh(&format!(
            "set -e; ip address add 169.254.169.254/32 dev lo
            systemd-run --quiet --unit=instance-metadata --socket-property=ListenStream=169.254.169.254:80 \
                /usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:{port}
            curl --silent --fail --max-time 30 -H Metadata:true \
                'http://169.254.169.254/metadata/instance/compute?api-version=2021-03-01' >/dev/null"
        ));
    }

    /// What the simulator says of itself.
    ///
    /// # Panics
    /// If it says nothing.
    #[track_caller]
    pub fn azure(&self) -> Value {
        let said = self.sh("curl --silent --fail --retry 5 --retry-connrefused http://169.254.169.254/simulator");
        serde_json::from_str(&said).expect("the simulator's state")
    }

    /// Makes the image that this guest will be into one for the scale set's VMs: cloud-init looks for Azure too, and what
    /// it finds is the simulator. The guest must be shut down then, and cloned by [`Guest::boot_clone_on_azure`] as
    /// `name`.
    #[track_caller]
    pub fn become_an_image_for_azure(&self, simulator: &Path, name: &str) {
        self.start_azure(simulator);
        self.put("datasource_list: [NoCloud, Azure, None]\n", "/etc/cloud/cloud.cfg.d/91-azure.cfg", 0o644);
        let address = Network::address(name);
        let segment = format!("[Match]\nName=eth1\n[Network]\nAddress={address}/24\n");
        self.put(segment, "/etc/systemd/network/04-segment.network", 0o644);
    }

    /// Another machine, made from this one's disk as from an image, and booted for the first time by Azure with this
    /// custom data. This one must be off, and stay so.
    ///
    /// # Panics
    /// If this one is on, or the other does not boot.
    #[track_caller]
    pub fn boot_clone_on_azure(&self, name: &str, custom_data: &str) -> Self {
        let environment = environment(&base64(custom_data));
        self.clone_on(Cloud::Azure, name, |directory| {
            // Where the platform's own medium has that label, cloud-init does not look.
            seed(directory, "rd_rdfe_stable", &[("ovf-env.xml", &environment)]).expect("a provisioning medium")
        })
    }
}

/// `ovf-env.xml` as the platform writes it for a Linux VM (cloud-init's `OvfEnvXml` is its reader).
fn environment(custom_data: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:wa="http://schemas.microsoft.com/windowsazure">
<wa:ProvisioningSection><wa:Version>1.0</wa:Version>
<LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure">
<ConfigurationSetType>LinuxProvisioningConfiguration</ConfigurationSetType>
<HostName>dsvmpool000000</HostName><UserName>azureuser</UserName>
<DisableSshPasswordAuthentication>true</DisableSshPasswordAuthentication>
<CustomData>{custom_data}</CustomData>
</LinuxProvisioningConfigurationSet></wa:ProvisioningSection>
<wa:PlatformSettingsSection><wa:Version>1.0</wa:Version>
<PlatformSettings xmlns="http://schemas.microsoft.com/windowsazure">
<KmsServerHostname>kms.core.windows.net</KmsServerHostname><ProvisionGuestAgent>false</ProvisionGuestAgent>
<PreprovisionedVm>false</PreprovisionedVm>
</PlatformSettings></wa:PlatformSettingsSection>
</Environment>
"#
    )
}

fn base64(text: &str) -> String {
    let mut command = Command::new("base64");
    command.arg("--wrap=0").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("base64(1)");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text")
}
