//! The deployment template of `packaging/azure`: every expression in it is worked out, for every choice that it has, and
//! what comes of it is held to what the agent asks, reports and reads.

use azure::Azure;
use azure::pool::agent::metrics;
use azure::pool::autoscale::Setting;
use azure::pool::scenario::TEMPLATE;
use azure::template::Deployment;
use azure::template::expression::{Expression, parse};
use azure::template::functions::KEY;
use azure::world::{Mode, World};
use dsvm_agent::config::settings::ScaleSet;
use dsvm_agent::scale_set::act::{Ask, NAMESPACE, Told, perform};
use dsvm_agent::scale_set::model::{Place, Protection, Values};
use dsvm_agent::sys::http::Url;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

const SET: &str = "Microsoft.Compute/virtualMachineScaleSets";

/// Versions of Azure's interfaces, each known to have what is used of it. Where the agent asks too, it is the same.
const VERSIONS: [(&str, &str); 12] = [
    ("Microsoft.Authorization/roleAssignments", "2022-04-01"),
    ("Microsoft.Authorization/roleDefinitions", "2022-04-01"),
    (SET, "2024-11-01"),
    ("Microsoft.Insights/autoscaleSettings", "2022-10-01"),
    ("Microsoft.KeyVault/vaults", "2023-07-01"),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31"),
    ("Microsoft.Network/loadBalancers", "2024-05-01"),
    ("Microsoft.Network/natGateways", "2024-05-01"),
    ("Microsoft.Network/privateDnsZones", "2020-06-01"),
    ("Microsoft.Network/privateEndpoints", "2024-05-01"),
    ("Microsoft.Network", "2024-05-01"),
    ("Microsoft.Storage/storageAccounts", "2023-05-01"),
];

fn deployment(kind: &str, access: &str, image: &str) -> Deployment {
    let parameters = json!({
        "shareKind": kind, "access": access, "imageId": image, "allowedSource": "198.51.100.0/24",
        "adminPublicKey": "ssh-ed25519 AAAA", "packageUrl": "https://example.com/a.deb", "packageSha256": "0123",
    });
    Deployment::new(TEMPLATE, parameters).expect("it is JSON")
}

/// Every choice that there is.
fn all() -> Vec<Deployment> {
    let images = ["", "/subscriptions/s/images/baked"];
    let kinds = ["smb", "nfs"].into_iter().flat_map(|kind| ["public", "internal"].map(|access| (kind, access)));
    kinds.flat_map(|(kind, access)| images.map(|image| deployment(kind, access, image))).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|i| texts(i, out)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            out.push(name.clone());
            texts(value, out);
        }),
        _ => {}
    }
}

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {value:#}"))
}

#[test]
fn everything_is_worked_out_and_stands_for_something() {
    for deployment in all() {
        let resources = deployment.resources().unwrap();
        let outputs = deployment.outputs().unwrap();
        let ids: Vec<String> = resources.iter().map(|r| deployment.id(r).unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no two are the same");
        // What is not deployed may be depended on, and is left out then; what nobody has ever heard of may not.
        let whole = deployment.template["resources"].as_array().unwrap();
        let declared: Vec<String> = whole
            .iter()
            .map(|r| deployment.id(&json!({"type": r["type"], "name": deployment.value(&r["name"]).unwrap()})).unwrap())
            .collect();
        let inside = ["/subnets/", "/frontendIPConfigurations/", "/backendAddressPools/", "/probes/"];
        for (resource, own) in resources.iter().zip(&ids) {
            for needed in resource["dependsOn"].as_array().into_iter().flatten() {
                assert!(declared.iter().any(|id| needed == id), "{own} needs {needed}");
            }
            let mut said = Vec::new();
            texts(&resource["properties"], &mut said);
            let ours = |text: &&String| {
                text.starts_with(&format!("/subscriptions/{}/resourceGroups/", deployment.subscription))
            };
            for id in said.iter().filter(ours).filter(|t| t.contains("/providers/")) {
                let part = inside.iter().find_map(|i| Some(id.split_once(i)?.0)).unwrap_or(id);
                assert!(ids.iter().any(|known| known == part), "{own} speaks of {id}");
                // Whatever it speaks of must be there first.
                let needs = resource["dependsOn"].as_array().into_iter().flatten().any(|n| n == part);
                assert!(
                    needs || part == own || reaches(&deployment, &resources, own, part),
                    "{own} does not wait for {part}"
                );
            }
        }
        let mut left = Vec::new();
        texts(&json!([resources, outputs]), &mut left);
        assert!(left.iter().all(|text| !text.starts_with('[')), "an expression is left");
    }
}

/// Whether a resource waits for another through those that it waits for.
fn reaches(deployment: &Deployment, resources: &[Value], from: &str, to: &str) -> bool {
    let of = |id: &str| resources.iter().find(|r| deployment.id(r).is_ok_and(|known| known == id));
    let needs = of(from).and_then(|r| r["dependsOn"].as_array().cloned()).unwrap_or_default();
    needs.iter().filter_map(Value::as_str).any(|n| n == to || reaches(deployment, resources, n, to))
}

#[test]
fn every_parameter_and_variable_is_declared_and_used() {
    let template: Value = serde_json::from_str(TEMPLATE).unwrap();
    let mut all = Vec::new();
    texts(&template, &mut all);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in all {
        let expression = parse(&text).unwrap_or_else(|mistake| panic!("{text}: {mistake}"));
        expression.into_iter().for_each(|e| {
            e.visit(&mut |e| {
                if let Expression::Call(name, arguments) = e
                    && let [Expression::Text(what)] = arguments.as_slice()
                {
                    used.entry(name.clone()).or_default().insert(what.clone());
                }
            });
        });
    }
    for kind in ["parameters", "variables"] {
        let declared: BTreeSet<String> = template[kind].as_object().unwrap().keys().cloned().collect();
        assert_eq!(used[kind], declared);
    }
    for (name, parameter) in template["parameters"].as_object().unwrap() {
        assert!(parameter["metadata"]["description"].as_str().is_some_and(|d| d.ends_with('.')), "{name}");
    }
    let example = std::fs::read_to_string(root().join("packaging/azure/azuredeploy.parameters.json")).unwrap();
    let example: Value = serde_json::from_str(&example).unwrap();
    let given = example["parameters"].as_object().unwrap();
    let given: Value = given.iter().map(|(name, value)| (name.clone(), value["value"].clone())).collect();
    let declared = template["parameters"].as_object().unwrap();
    assert!(given.as_object().unwrap().keys().all(|name| declared.contains_key(name)));
    Deployment::new(TEMPLATE, given).unwrap().resources().unwrap();
}

#[test]
fn the_key_is_in_the_vault_and_nowhere_else() {
    let template: Value = serde_json::from_str(TEMPLATE).unwrap();
    let secure = |kind: &Value| kind.as_str().unwrap_or_default().to_ascii_lowercase().starts_with("secure");
    for kind in ["parameters", "outputs"] {
        assert!(template[kind].as_object().unwrap().values().all(|p| !secure(&p["type"])), "{kind}");
    }
    for deployment in all() {
        let mut vault = 0;
        for mut resource in deployment.resources().unwrap() {
            if resource["type"] == "Microsoft.KeyVault/vaults/secrets" {
                assert_eq!(resource["properties"]["value"].take(), KEY);
                vault += 1;
            }
            assert!(!resource.to_string().contains(KEY), "{resource:#}");
        }
        let smb = deployment.parameter("shareKind").unwrap() == "smb";
        assert_eq!(vault, if smb { 2 } else { 0 });
        let variables = deployment.template["variables"].as_object().unwrap();
        let shown = variables.keys().map(|name| deployment.variable(name).unwrap()).collect::<Vec<_>>();
        assert!(!json!([shown, deployment.outputs().unwrap()]).to_string().contains(KEY));
    }
}

#[test]
fn custom_data_is_what_is_shipped_with_its_words_filled_in() {
    for deployment in all() {
        let smb = deployment.parameter("shareKind").unwrap() == "smb";
        let image = if deployment.parameter("imageId").unwrap() == "" { "stock" } else { "baked" };
        let file = format!("cloud-init/{image}{}.yaml", if smb { "" } else { "-nfs" });
        let shipped = std::fs::read_to_string(root().join(&file)).unwrap();
        let account = deployment.variable("account").unwrap().as_str().unwrap().to_owned();
        let share = format!("{account}.file.core.windows.net");
        let words = [
            ("@SHARE_SOURCE@", format!("//{share}/dsvmshare")),
            ("@NFS_SOURCE@", format!("{share}:/{account}/dsvmshare")),
            ("@VAULT@", deployment.variable("vault").unwrap().as_str().unwrap().to_owned()),
            ("@PACKAGE_URL@", "https://example.com/a.deb".to_owned()),
            ("@PACKAGE_SHA256@", "0123".to_owned()),
            // Both keys are in the vault.
            ("# secret2", "secret2".to_owned()),
            // The file's example of a person.
            ("  - name: alice\n    uid: 2001\n    shell: /bin/bash\n", String::new()),
        ];
        let filled = words.iter().fold(shipped, |text, (word, value)| text.replace(word, value));
        let data = deployment.variable("customData").unwrap();
        assert_eq!(data.as_str().unwrap(), filled, "{file}: cargo xtask template");
        assert!(!filled.replace("every @WORD@", "").contains("@") && !filled.contains("alice"), "{filled}");
        let set = deployment.only(SET).unwrap();
        let sent = at(&set, "/properties/virtualMachineProfile/osProfile/customData");
        assert_eq!(sent, &deployment.value(&json!("[base64(variables('customData'))]")).unwrap());
        assert!(sent.as_str().unwrap().len() < 64 * 1024);
        let account = deployment.only("Microsoft.Storage/storageAccounts").unwrap();
        assert!(
            account["name"].as_str().is_some_and(|n| n.len() <= 24 && n.bytes().all(|b| b.is_ascii_alphanumeric()))
        );
    }
}

#[test]
fn the_role_has_what_the_agent_asks_and_no_more() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    azure.world().looks = Some(1);
    let url = Url::parse(&azure.url()).unwrap();
    let settings = ScaleSet {
        metadata: url.clone(),
        resource_manager: Some(url.clone()),
        monitor: Some(url),
        ..ScaleSet::default()
    };
    let Ok(Told::Place(Place::Member(node, instance))) = perform(&Ask::Place, &settings) else { panic!("a member") };
    let at_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let values = Values { idle: Some(true), busy: Some(false), unprotected: Some(false) };
    for wanted in [Protection { scale_in: true, actions: true }, Protection::NONE] {
        let ask = Ask::Protect { node: node.clone(), instance: instance.clone(), wanted, force: false };
        perform(&ask, &settings).unwrap();
    }
    perform(&Ask::Publish { node, instance, values, at: at_s }, &settings).unwrap();
    let (mut actions, mut published) = (BTreeSet::new(), 0);
    let set = azure.world().set_id();
    for received in &azure.world().received {
        let request = &received.request;
        let Some(below) = request.path.strip_prefix(&set) else {
            let free = request.path.starts_with("/metadata/") || request.path.contains("/operations/");
            assert!(free, "no right is known for {} {}", request.method, request.path);
            continue;
        };
        let right = match (request.method.as_str(), below.split('/').collect::<Vec<_>>().as_slice()) {
            ("GET", ["", "virtualMachines", _]) => "read",
            ("PUT", ["", "virtualMachines", _]) => "write",
            ("POST", ["", "metrics"]) => {
                published += 1;
                continue;
            }
            other => panic!("no right is known for {other:?}"),
        };
        actions.insert(format!("{SET}/virtualMachines/{right}"));
    }
    assert_eq!(published, 1);
    for deployment in all() {
        let role = deployment.only("Microsoft.Authorization/roleDefinitions").unwrap();
        let granted: BTreeSet<String> =
            serde_json::from_value(at(&role, "/properties/permissions/0/actions").clone()).unwrap();
        assert_eq!(granted, actions);
        let mut given: Vec<(String, String)> = Vec::new();
        for assignment in
            deployment.resources().unwrap().iter().filter(|r| r["type"] == "Microsoft.Authorization/roleAssignments")
        {
            let last = |text: &Value| text.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            given.push((last(at(assignment, "/properties/roleDefinitionId")), last(&assignment["scope"])));
            assert_eq!(assignment["properties"]["principalId"], "3f2a0000-0000-4000-8000-000000000002");
        }
        let (set, own) = ("dsvmpool".to_owned(), role["name"].as_str().unwrap().to_owned());
        // Monitoring Metrics Publisher, Key Vault Secrets User.
        let mut wanted = vec![(own, set.clone()), ("3913510d-42f4-4e42-8a64-420c390055eb".to_owned(), set)];
        if deployment.parameter("shareKind").unwrap() == "smb" {
            let vault = deployment.variable("vault").unwrap().as_str().unwrap().to_owned();
            wanted.push(("4633458b-17de-408a-b874-0445c86b69e6".to_owned(), vault));
        }
        assert_eq!(given, wanted);
    }
}

#[test]
fn the_rules_read_what_the_agent_reports() {
    let resource = deployment("smb", "public", "").only("Microsoft.Insights/autoscaleSettings").unwrap();
    let setting = Setting::read(&resource).unwrap();
    let [idle, _, unprotected] = metrics();
    assert_eq!((idle.as_str(), unprotected.as_str()), ("IdleNodes", "BusyUnprotectedNodes"));
    for profile in &setting.profiles {
        let (out, into): (Vec<_>, Vec<_>) = profile.rules.iter().partition(|r| r.out);
        let read: Vec<&str> = into.iter().map(|r| r.metric.as_str()).collect();
        assert_eq!(read, [&idle, &unprotected, &unprotected], "{}", profile.name);
        assert!(into.iter().all(|r| r.namespace == NAMESPACE));
        // What a rule for scaling out says of no VM at all is not written anywhere: there is none where none may be left.
        assert_eq!(out.is_empty(), profile.minimum == 0, "{}", profile.name);
        assert_eq!(profile.default, profile.minimum, "without data it stays as it is");
    }
    let at = |day: f64, hour: f64| setting.profile((day * 24.0 + hour) * 3600.0).unwrap().minimum;
    assert_eq!([at(0.0, 6.9), at(0.0, 7.0), at(0.0, 10.0), at(0.0, 19.0)], [0, 2, 1, 0]);
    assert_eq!([at(5.0, 9.0), at(6.0, 23.0)], [0, 0], "at weekends");
    let raw = resource.to_string();
    // All VMs together: a rule for one of them would name it.
    assert!(!raw.contains("dimensions"), "{raw}");
}

#[test]
fn the_scale_set_leaves_people_their_vms() {
    for deployment in all() {
        let set = deployment.only(SET).unwrap();
        for (pointer, wanted) in [
            ("/orchestrationMode", json!("Uniform")),
            ("/overprovision", json!(false)),
            ("/upgradePolicy/mode", json!("Manual")),
            ("/upgradePolicy/automaticOSUpgradePolicy/enableAutomaticOSUpgrade", json!(false)),
            ("/automaticRepairsPolicy/enabled", json!(false)),
            ("/scaleInPolicy/forceDeletion", json!(false)),
            ("/virtualMachineProfile/osProfile/linuxConfiguration/disablePasswordAuthentication", json!(true)),
            (
                "/virtualMachineProfile/scheduledEventsProfile/terminateNotificationProfile",
                json!({"enable": true, "notBeforeTimeout": "PT15M"}),
            ),
        ] {
            assert_eq!(at(&set["properties"], pointer), &wanted, "{pointer}");
        }
        assert_eq!(set["sku"]["capacity"], 0);
        let identity = deployment.variable("identityId").unwrap();
        assert_eq!(set["identity"]["userAssignedIdentities"], json!({identity.as_str().unwrap(): {}}));
        // The agent listens where the probe asks, and the firewall lets nobody else ask.
        let listen = deployment.variable("customData").unwrap();
        assert!(listen.as_str().unwrap().contains("listen = \"0.0.0.0:9460\"\n"));
        let balancer = deployment.only("Microsoft.Network/loadBalancers").unwrap();
        let probe = at(&balancer, "/properties/probes/0/properties");
        assert_eq!(
            (&probe["protocol"], &probe["port"], &probe["requestPath"]),
            (&json!("Http"), &json!(9460), &json!("/ready"))
        );
        let rules = at(&balancer, "/properties/loadBalancingRules").as_array().unwrap();
        let ports: Vec<_> =
            rules.iter().map(|r| (&r["properties"]["backendPort"], &r["properties"]["loadDistribution"])).collect();
        assert_eq!(ports, [(&json!(22), &json!("SourceIP")), (&json!(8000), &json!("SourceIP"))]);
        let own = at(&balancer, "/properties/inboundNatRules/0/properties");
        let ports = own["frontendPortRangeEnd"].as_u64().unwrap() - own["frontendPortRangeStart"].as_u64().unwrap() + 1;
        let most = deployment.template["parameters"]["maximumInstances"]["maxValue"].as_u64().unwrap();
        assert!(ports >= most && own["backendPort"] == 22);
        let firewall = deployment.only("Microsoft.Network/networkSecurityGroups").unwrap();
        let rules = at(&firewall, "/properties/securityRules").as_array().unwrap();
        let of = |port: &str| {
            let here = |r: &&Value| r["properties"]["destinationPortRange"] == port;
            rules
                .iter()
                .filter(here)
                .map(|r| (r["properties"]["access"].clone(), r["properties"]["sourceAddressPrefix"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of("9460"), [(json!("Allow"), json!("AzureLoadBalancer")), (json!("Deny"), json!("*"))]);
        assert_eq!(
            (of("22"), of("8000")),
            (vec![(json!("Allow"), json!("198.51.100.0/24"))], vec![(json!("Allow"), json!("198.51.100.0/24"))])
        );
    }
}

#[test]
fn the_share_is_reached_inside_only_and_can_be_brought_back() {
    for deployment in all() {
        let nfs = deployment.parameter("shareKind").unwrap() == "nfs";
        let account = deployment.only("Microsoft.Storage/storageAccounts").unwrap();
        assert_eq!(account["sku"]["name"], if nfs { "Premium_LRS" } else { "Standard_LRS" });
        assert_eq!(account["kind"], if nfs { "FileStorage" } else { "StorageV2" });
        assert_eq!(account["properties"]["publicNetworkAccess"], "Disabled");
        assert_eq!(account["properties"]["allowSharedKeyAccess"], !nfs);
        // Plain NFS is refused where encryption is required.
        assert_eq!(account["properties"]["supportsHttpsTrafficOnly"], !nfs);
        let share = deployment.only("Microsoft.Storage/storageAccounts/fileServices/shares").unwrap();
        assert_eq!(share["properties"]["enabledProtocols"], if nfs { "NFS" } else { "SMB" });
        let service = deployment.only("Microsoft.Storage/storageAccounts/fileServices").unwrap();
        assert_eq!(at(&service, "/properties/shareDeleteRetentionPolicy"), &json!({"enabled": true, "days": 14}));
        let resources = deployment.resources().unwrap();
        let named = |kind: &str| {
            resources
                .iter()
                .filter(|r| r["type"] == kind)
                .map(|r| r["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let zones = ["privatelink.file.core.windows.net", "privatelink.vaultcore.azure.net"];
        assert_eq!(named("Microsoft.Network/privateDnsZones"), zones[..if nfs { 1 } else { 2 }]);
        assert_eq!(named("Microsoft.Network/privateEndpoints").len(), named("Microsoft.Network/privateDnsZones").len());
        assert_eq!(
            named("Microsoft.Network/natGateways").len(),
            usize::from(deployment.parameter("access").unwrap() == "internal")
        );
    }
}

#[test]
fn every_version_of_an_interface_is_known() {
    let template: Value = serde_json::from_str(TEMPLATE).unwrap();
    for resource in template["resources"].as_array().unwrap() {
        let kind = resource["type"].as_str().unwrap();
        let known = VERSIONS.iter().find(|(known, _)| kind == *known || kind.starts_with(&format!("{known}/")));
        assert_eq!(known.map(|(_, version)| *version), resource["apiVersion"].as_str(), "{kind}");
    }
}

/// A Python with checkov, below the target directory; made once for each list.
fn checkov() -> PathBuf {
    let list = include_str!("checkov.txt");
    let own = std::env::current_exe().expect("this program's path");
    let venv = own.ancestors().nth(3).expect("target/PROFILE/deps").join("checkov");
    let mark = venv.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == list) {
        return venv.join("bin/checkov");
    }
    let _ = std::fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkov.txt");
    let mut pip = Command::new(venv.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(file));
    std::fs::write(mark, list).expect("the venv is ours");
    venv.join("bin/checkov")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn checkov_finds_nothing_that_has_no_reason() {
    let directory = tempfile::tempdir().unwrap();
    for kind in ["smb", "nfs"] {
        // What would be deployed: it does not work out expressions itself.
        let resources = deployment(kind, "public", "").resources().unwrap();
        let schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#";
        let template = json!({"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources});
        std::fs::write(directory.path().join(format!("{kind}.json")), template.to_string()).unwrap();
    }
    let mut command = Command::new(checkov());
    command.args(["--framework", "arm", "--compact", "--quiet", "--skip-download", "--output", "json"]);
    command.arg("--config-file").arg(root().join("packaging/azure/.checkov.yaml"));
    command.arg("--directory").arg(directory.path()).env("LOG_LEVEL", "ERROR");
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    let found = report["results"]["failed_checks"].as_array().into_iter().flatten();
    let found: Vec<String> =
        found.map(|c| format!("{} {} {}", c["check_id"], c["check_name"], c["resource"])).collect();
    assert_eq!(found, [""; 0]);
    assert!(report["summary"]["passed"].as_u64().is_some_and(|n| n > 20) && output.status.success(), "{report:#}");
}
