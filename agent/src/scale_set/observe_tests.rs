use super::*;
use proptest::prelude::*;
use serde_json::json;

fn compute(fields: Value) -> Vec<u8> {
    let mut whole = json!({
        "azEnvironment": "AzurePublicCloud", "location": "westeurope", "name": "dsvmpool_7",
        "vmId": "5c08b38e-4d57-4c23-ac45-aca61037f084", "subscriptionId": "0000-11", "resourceGroupName": "rg(1)",
        "vmScaleSetName": "dsvmpool", "virtualMachineScaleSet": {"id": ""}, "priority": "Regular",
        "resourceId": "/subscriptions/0000-11/resourceGroups/rg(1)/providers/Microsoft.Compute/virtualMachineScaleSets/dsvmpool/virtualMachines/7",
        "osProfile": {"adminUsername": "a"}, "tagsList": [],
    });
    for (key, value) in fields.as_object().unwrap() {
        whole[key] = value.clone();
    }
    whole.to_string().into_bytes()
}

const SET: &str =
    "/subscriptions/0000-11/resourceGroups/rg(1)/providers/Microsoft.Compute/virtualMachineScaleSets/dsvmpool";

fn member(fields: Value) -> Option<(String, String)> {
    let place = place(&compute(fields)).unwrap();
    place.member().map(|(_, i)| (i.set_id.clone(), i.id.clone()))
}

#[test]
fn a_vm_knows_what_its_scale_set_calls_it() {
    let found = |id: &str| Some((SET.to_owned(), id.to_owned()));
    assert_eq!(member(json!({})), found("7"));
    // An id below the set that is no number of the name's: the id counts.
    assert_eq!(member(json!({"name": "dsvmpool_x"})), found("7"));
    let single =
        "/subscriptions/0000-11/resourceGroups/rg(1)/providers/Microsoft.Compute/virtualMachines/dsvmpool_0a1b2c3d";
    let flexible = json!({"name": "dsvmpool_0a1b2c3d", "resourceId": single, "virtualMachineScaleSet": {"id": SET}});
    assert_eq!(member(flexible), found("dsvmpool_0a1b2c3d"));
    // Without an id of the set, by its name: a Uniform one's number is short and decimal.
    assert_eq!(member(json!({"resourceId": ""})), found("7"));
    let flexible = json!({"name": "dsvmpool_01234567", "resourceId": single});
    assert_eq!(member(flexible), found("dsvmpool_01234567"));
    assert_eq!(member(json!({"name": "vm1", "resourceId": single, "vmScaleSetName": ""})), None);
}

#[test]
fn what_else_there_is_to_know_is_read() {
    let seen = |fields| place(&compute(fields)).unwrap().node().unwrap().clone();
    assert_eq!((seen(json!({})).cloud, seen(json!({})).spot), (Cloud::Public, false));
    assert_eq!(seen(json!({"azEnvironment": "AZURECHINACLOUD"})).cloud, Cloud::China);
    assert_eq!(seen(json!({"azEnvironment": "AzureUSGovernmentCloud"})).cloud, Cloud::UsGovernment);
    assert!(seen(json!({"priority": "Spot"})).spot);
    for bad in [&b"<html>"[..], b"{}", b"[]", b"{\"name\": 7}"] {
        assert!(place(bad).is_err());
    }
    for bad in [json!({"name": "a/../b"}), json!({"name": ""}), json!({"vmId": "x y"}), json!({"location": "x.evil/"})]
    {
        assert!(place(&compute(bad)).is_err());
    }
    let odd = SET.replace("dsvmpool", "a?b");
    assert_eq!(member(json!({"resourceId": "", "vmScaleSetName": "", "virtualMachineScaleSet": {"id": odd}})), None);
}

#[test]
fn protection_is_what_is_written_and_nothing_without() {
    let read = |v: Value| protection(v.to_string().as_bytes());
    let policy = json!({"protectFromScaleIn": true, "protectFromScaleSetActions": true});
    let whole = json!({"properties": {"provisioningState": "Succeeded", "protectionPolicy": policy}});
    assert_eq!(read(whole), Ok((Protection { scale_in: true, actions: true }, false)));
    assert_eq!(read(json!({"properties": {"provisioningState": "Updating"}})), Ok((Protection::NONE, true)));
    for bad in [json!({}), json!([]), json!({"error": {"code": "x"}}), json!({"properties": []})] {
        assert!(read(bad).is_err());
    }
    assert_eq!(operation(b"{\"status\":\"InProgress\"}"), Ok(None));
    assert_eq!(operation(b"{\"status\":\"Succeeded\"}"), Ok(Some(true)));
    assert_eq!(operation(b"{\"status\":\"Canceled\"}"), Ok(Some(false)));
    assert!(operation(b"{}").is_err());
}

#[test]
fn only_ones_own_events_are_seen_in_both_shapes_of_date() {
    let document = json!({"DocumentIncarnation": 2, "Events": [
        {"EventId": "C7061BAC-AFDC-4513-B24B-AA5F13A16123", "EventStatus": "Scheduled", "EventType": "Terminate",
         "ResourceType": "VirtualMachine", "Resources": ["dsvmpool_7"], "NotBefore": "Mon, 11 Apr 2026 22:26:58 GMT",
         "Description": "…", "EventSource": "User", "DurationInSeconds": -1},
        {"EventId": "b", "EventType": "Reboot", "EventStatus": "Started", "Resources": ["x", "DSVMPOOL_7"], "NotBefore": ""},
        {"EventId": "c", "EventType": "Freeze", "Resources": ["dsvmpool_70"], "NotBefore": "2026-04-11T22:26:58Z"},
        {"EventId": "d", "EventType": "Sublimate", "Resources": ["dsvmpool_7"]},
    ]});
    let (incarnation, seen) = events(document.to_string().as_bytes(), "dsvmpool_7").unwrap();
    assert_eq!((incarnation, seen.len()), (2, 2));
    assert_eq!(seen[0].not_before, humantime::parse_rfc3339("2026-04-11T22:26:58Z").ok());
    assert_eq!((seen[0].kind, seen[0].started, seen[1].kind), (EventKind::Terminate, false, EventKind::Reboot));
    assert_eq!((seen[1].started, seen[1].not_before), (true, None));
    assert_eq!((seen[0].alone, seen[1].alone), (true, false), "the other one is of another VM too");
    for bad in [&b"{}"[..], b"", b"[]", b"{\"DocumentIncarnation\":\"x\",\"Events\":[]}"] {
        assert!(events(bad, "dsvmpool_7").is_err());
    }
}

#[test]
fn what_is_null_in_one_event_hides_no_other() {
    let document = json!({"DocumentIncarnation": 3, "Events": [
        {"EventId": null, "EventStatus": null, "EventType": null, "Resources": null, "NotBefore": null},
        {"EventId": "a", "EventType": null, "Resources": ["dsvmpool_7"]},
        {"EventId": "b", "EventStatus": "Started", "EventType": "Terminate", "Resources": ["dsvmpool_7", null],
         "NotBefore": null, "Description": null, "EventSource": null, "DurationInSeconds": null},
    ]});
    let (incarnation, seen) = events(document.to_string().as_bytes(), "dsvmpool_7").unwrap();
    let (kind, not_before) = (EventKind::Terminate, None);
    assert_eq!(seen, [Event { id: "b".into(), kind, not_before, started: true, alone: false }]);
    assert_eq!(incarnation, 3);
    assert_eq!(events(br#"{"DocumentIncarnation":4,"Events":null}"#, "x"), Ok((4, vec![])));
}

#[test]
fn dates_are_read_as_they_come() {
    let expected = humantime::parse_rfc3339("2016-09-19T18:29:47Z").ok();
    for text in [
        "Mon, 19 Sep 2016 18:29:47 GMT",
        "Xxx, 19 Sep 2016 18:29:47 GMT",
        "2016-09-19T18:29:47Z",
        "2016-09-19T18:29:47",
    ] {
        assert_eq!(date(text), expected, "{text}");
    }
    for bad in ["", "soon", "Mon, 99 Sep 2016 18:29:47 GMT", "Mon, 19 Xxx 2016 18:29:47 GMT", "Mon, 19 Sep 2016"] {
        assert_eq!(date(bad), None, "{bad}");
    }
    let now = expected.unwrap();
    assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
    assert_eq!(retry_after("Mon, 19 Sep 2016 18:30:47 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(retry_after("Mon, 19 Sep 2016 18:20:47 GMT", now), Some(Duration::ZERO));
    assert_eq!(retry_after("later", now), None);
}

#[test]
fn errors_have_their_names() {
    assert_eq!(
        error_code(br#"{"error":{"code":"AuthorizationFailed","message":"x"}}"#).as_deref(),
        Some("AuthorizationFailed")
    );
    assert_eq!(error_code(br#"{"error":"invalid_request"}"#).as_deref(), Some("invalid_request"));
    assert_eq!(error_code(br#"{"statusCode":403,"apiFailureResponse":{"error":{"code":"X"}}}"#).as_deref(), Some("X"));
    for odd in [&br#"{"error":{"code":"a b"}}"#[..], b"<html>", br#"{"error":{"code":""}}"#, b"{}"] {
        assert_eq!(error_code(odd), None);
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_it_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let _ = (place(&bytes), protection(&bytes), operation(&bytes), events(&bytes, "x"), error_code(&bytes));
        let _ = (date(&text), retry_after(&text, SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn no_name_leads_out_of_its_place(name in ".{1,40}") {
        if let Ok(place) = place(&compute(json!({"name": name, "resourceId": "", "vmScaleSetName": name}))) {
            let node = place.node().unwrap();
            prop_assert!(!node.name.contains(['/', '?', '#', '%', ' ', '@', ':', '\\']));
            if let Some((_, instance)) = place.member() {
                prop_assert_eq!(instance.set_id.split('/').count(), 9);
            }
        }
    }
}
