//! The functions of templates, as far as ours uses them. What only Azure knows (a key, an address, a made-up name) is
//! something that is easily told from anything that a template could say.

use super::Deployment;
use serde_json::{Value, json};

/// What stands for an account's key: nothing that is deployed or given out may have it but a secret's value.
pub const KEY: &str = "<the account's key>";

/// Calls the function `name`.
pub fn call(deployment: &Deployment, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} does not take {}", json!(arguments));
    let text = |index: usize| arguments.get(index).and_then(Value::as_str).ok_or_else(wrong);
    let group = || format!("/subscriptions/{}/resourceGroups/{}", deployment.subscription, deployment.group);
    match (name.to_ascii_lowercase().as_str(), arguments) {
        ("parameters", [_]) => deployment.parameter(text(0)?),
        ("variables", [_]) => deployment.variable(text(0)?),
        ("concat", [Value::Array(_), ..]) => {
            let lists = arguments.iter().map(Value::as_array).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            Ok(lists.into_iter().flatten().cloned().collect())
        }
        ("concat", _) => arguments.iter().map(said).collect::<Option<String>>().map(Value::from).ok_or_else(wrong),
        ("format", [Value::String(pattern), values @ ..]) => {
            let put = |pattern: String, (index, value): (usize, &Value)| {
                Some(pattern.replace(&format!("{{{index}}}"), &said(value)?))
            };
            values.iter().enumerate().try_fold(pattern.clone(), put).map(Value::from).ok_or_else(wrong)
        }
        ("string", [value]) => said(value).map(Value::from).ok_or_else(wrong),
        ("int", [Value::String(digits)]) => digits.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        ("tolower", [_]) => Ok(json!(text(0)?.to_lowercase())),
        ("replace", [_, _, _]) => Ok(json!(text(0)?.replace(text(1)?, text(2)?))),
        ("take", [_, count]) => {
            let count = count.as_u64().and_then(|c| usize::try_from(c).ok()).ok_or_else(wrong)?;
            Ok(json!(text(0)?.chars().take(count).collect::<String>()))
        }
        ("base64", [_]) => Ok(json!(base64(text(0)?.as_bytes()))),
        ("equals", [a, b]) => Ok(json!(a == b)),
        ("not", [Value::Bool(a)]) => Ok(json!(!a)),
        ("and", many) => {
            many.iter().map(Value::as_bool).try_fold(true, |all, b| Some(all & b?)).map(Value::from).ok_or_else(wrong)
        }
        ("or", many) => {
            many.iter().map(Value::as_bool).try_fold(false, |any, b| Some(any | b?)).map(Value::from).ok_or_else(wrong)
        }
        ("empty", [Value::String(text)]) => Ok(json!(text.is_empty())),
        ("empty", [Value::Array(list)]) => Ok(json!(list.is_empty())),
        ("empty", [Value::Null]) => Ok(json!(true)),
        ("createarray", items) => Ok(items.iter().cloned().collect()),
        ("createobject", pairs) if pairs.len() % 2 == 0 => {
            let pair = |pair: &[Value]| match pair {
                [Value::String(name), value] => Some((name.clone(), value.clone())),
                _ => None,
            };
            pairs.chunks(2).map(pair).collect::<Option<serde_json::Map<_, _>>>().map(Value::Object).ok_or_else(wrong)
        }
        ("null", []) => Ok(Value::Null),
        ("true", []) => Ok(json!(true)),
        ("false", []) => Ok(json!(false)),
        ("subscription", []) => Ok(json!({
            "id": format!("/subscriptions/{}", deployment.subscription),
            "subscriptionId": deployment.subscription,
            "tenantId": "99999999-2222-3333-4444-555555555555",
        })),
        ("resourcegroup", []) => Ok(json!({"id": group(), "name": deployment.group, "location": deployment.location})),
        // The public cloud's own (azure-cli, cloud.py).
        ("environment", []) => {
            Ok(json!({"suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"}}))
        }
        ("resourceid", [_, names @ ..]) => resource_id(&group(), text(0)?, names).ok_or_else(wrong),
        ("subscriptionresourceid", [_, names @ ..]) => {
            resource_id(&format!("/subscriptions/{}", deployment.subscription), text(0)?, names).ok_or_else(wrong)
        }
        ("extensionresourceid", [_, _, names @ ..]) => resource_id(text(0)?, text(1)?, names).ok_or_else(wrong),
        ("uniquestring", _) => Ok(json!(format!("u{:012x}", sum(&json!(arguments).to_string()) & 0xffff_ffff_ffff))),
        ("guid", _) => {
            let sum = sum(&json!(arguments).to_string());
            Ok(json!(format!("{:08x}-0000-5000-8000-{:012x}", sum >> 32, sum & 0xffff_ffff_ffff)))
        }
        ("reference", [_, ..]) if arguments.len() <= 3 => reference(deployment, text(0)?),
        ("listkeys", [_, _]) => {
            reference(deployment, text(0)?)?;
            Ok(json!({"keys": [{"keyName": "key1", "value": KEY}, {"keyName": "key2", "value": KEY}]}))
        }
        _ => Err(format!("there is no function {name} of {} arguments here", arguments.len())),
    }
}

fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        _ => None,
    }
}

/// `t/a/b` with `x`, `y` is `…/providers/t/a/x/b/y`.
fn resource_id(scope: &str, kind: &str, names: &[Value]) -> Option<Value> {
    let (provider, kinds) = kind.split_once('/')?;
    let kinds: Vec<&str> = kinds.split('/').collect();
    if kinds.len() != names.len() {
        return None;
    }
    let pairs = kinds.iter().zip(names).map(|(kind, name)| Some(format!("/{kind}/{}", name.as_str()?)));
    Some(json!(format!("{scope}/providers/{provider}{}", pairs.collect::<Option<String>>()?)))
}

/// What a resource of the template is once it is deployed: its properties, and those that Azure makes.
fn reference(deployment: &Deployment, id: &str) -> Result<Value, String> {
    let resources = deployment.template.get("resources").and_then(Value::as_array);
    for resource in resources.into_iter().flatten() {
        let kind = resource.get("type").and_then(Value::as_str).unwrap_or_default();
        let name = deployment.value(resource.get("name").unwrap_or(&Value::Null))?;
        let names: Vec<Value> = name.as_str().unwrap_or_default().split('/').map(Value::from).collect();
        let group = format!("/subscriptions/{}/resourceGroups/{}", deployment.subscription, deployment.group);
        if resource_id(&group, kind, &names) == Some(json!(id)) {
            return Ok(runtime(kind, name.as_str().unwrap_or_default(), resource));
        }
    }
    Err(format!("the template has no resource {id}"))
}

fn runtime(kind: &str, name: &str, resource: &Value) -> Value {
    match kind {
        "Microsoft.ManagedIdentity/userAssignedIdentities" => json!({
            "clientId": "3f2a0000-0000-4000-8000-000000000001",
            "principalId": "3f2a0000-0000-4000-8000-000000000002",
        }),
        "Microsoft.Storage/storageAccounts" => {
            json!({"primaryEndpoints": {"file": format!("https://{name}.file.core.windows.net/")}})
        }
        "Microsoft.KeyVault/vaults" => json!({"vaultUri": format!("https://{name}.vault.azure.net/")}),
        "Microsoft.Network/publicIPAddresses" => {
            json!({"ipAddress": "203.0.113.7"})
        }
        "Microsoft.Network/loadBalancers" => {
            json!({"frontendIPConfigurations": [{"properties": {"privateIPAddress": "10.20.0.200"}}]})
        }
        _ => resource.get("properties").cloned().unwrap_or_default(),
    }
}

/// FNV-1a, so that made-up names are the same every time.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
